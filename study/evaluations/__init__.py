"""What a frozen encoder is worth: one evaluation a file, named in `EVALUATIONS`."""

from study.evaluations.correspondence import Correspondence
from study.evaluations.cost import Cost
from study.evaluations.detection import ObjectDetection
from study.evaluations.evaluation import Evaluation, Score, Subject
from study.evaluations.finetune import Finetune
from study.evaluations.knn import Knn
from study.evaluations.linear import Linear
from study.evaluations.logistic import Logistic
from study.evaluations.segmentation import Segmentation

EVALUATIONS: dict[str, type[Evaluation]] = {
    "knn": Knn,
    "linear": Linear,
    "finetune": Finetune,
    "logistic": Logistic,
    "segmentation": Segmentation,
    "detection": ObjectDetection,
    "correspondence": Correspondence,
    "cost": Cost,
}

__all__ = ["EVALUATIONS", "Evaluation", "Score", "Subject"]
