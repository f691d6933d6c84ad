"""What can be wrong with a checkpoint, as data. Codes are those of docs/checkpoint-format.md, section 13."""

from __future__ import annotations

import errno


class CheckpointError(ValueError):
    """A committed checkpoint cannot be used as it stands; `sentence` names file and bytes."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class SaveError(Exception):
    """This writer's incarnation is dead. Nothing was deleted; the bytes may be written again as the next one.

    `code` is the errno name (ENOSPC, EIO, EDQUOT, EEXIST, …) or an SWC_ code when the staged bytes are wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @staticmethod
    def of(path: str, error: OSError) -> SaveError:
        """The errno of a failed call as a code, with the file it failed on."""
        code = errno.errorcode.get(error.errno or 0, "EIO")
        return SaveError(code, f"{path}: {error.strerror or error}")
