"""What a frozen encoder is worth: one evaluation a file, named in `EVALUATIONS`."""

from study.evaluations.evaluation import Evaluation, Score, Subject
from study.evaluations.knn import Knn

EVALUATIONS: dict[str, type[Evaluation]] = {
    "knn": Knn,
}

__all__ = ["EVALUATIONS", "Evaluation", "Score", "Subject"]
