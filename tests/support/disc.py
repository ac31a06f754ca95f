"""A disc of DICOM: slices in folders, and the index that names them."""

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage


def burned(disc, *series):
    """Write series of slices onto a disc, a folder, as hospitals hand them out; return it."""
    records = []
    for number, slices in enumerate(series):
        records.append(record("SERIES", SeriesInstanceUID=slices[0].SeriesInstanceUID))
        for n, one in enumerate(slices):
            parts = ["PT000000", "ST000000", f"SE00000{number}", f"IM00000{n}"]
            disc.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
            one.save_as(disc.joinpath(*parts), enforce_file_format=True)
            records.append(record("IMAGE", ReferencedFileID=parts))
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.DirectoryRecordSequence = records
    index.save_as(disc / "DICOMDIR", enforce_file_format=True)
    return disc


def record(kind, **known):
    """One record of an index."""
    made = Dataset()
    made.DirectoryRecordType, made.RecordInUseFlag = kind, 0xFFFF
    for keyword, value in known.items():
        setattr(made, keyword, value)
    return made
