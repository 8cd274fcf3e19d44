"""The sets of pictures, by the name that a study file uses."""

from data.sets.cifar import Cifar10, Cifar100
from data.sets.coco import Coco
from data.sets.dataset import SetSpec
from data.sets.digits import Digits
from data.sets.folder import Folder
from data.sets.imagenet import ImageNet, ImageNet100
from data.sets.scenes import DigitsScenes
from data.sets.segmentation import CamVid, MaskFolder, Voc2012, VocSegmentation
from data.sets.transfer import TRANSFER
from data.sets.voc import Voc0712, Voc2007, Voc2012Boxes, VocDetection

SETS: dict[str, type[SetSpec]] = {
    "digits": Digits,
    "digits_scenes": DigitsScenes,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "folder": Folder,
    "imagenet100": ImageNet100,
    "imagenet": ImageNet,
    "voc_segmentation": VocSegmentation,
    "mask_folder": MaskFolder,
    "voc2012": Voc2012,
    "camvid": CamVid,
    "voc_detection": VocDetection,
    "voc2007": Voc2007,
    "voc2012_boxes": Voc2012Boxes,
    "voc0712": Voc0712,
    "coco": Coco,
    **TRANSFER,
}
