"""Problems of training data: collected in one pass, told all at once, each with its file and line."""

from __future__ import annotations

from dataclasses import dataclass

from shardwright_trainer.rank.errors import UserError

# More than a person reads; the rest is counted.
PROBLEMS_SHOWN_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One problem. line and example count from 1; None where the whole file is meant."""

    severity: str
    code: str
    message: str
    path: str
    line: int | None = None
    example: int | None = None

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


class Complaints:
    """Errors and warnings of one file. The first PROBLEMS_SHOWN_MAX errors are kept, the others counted."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.errors: list[Complaint] = []
        self.warnings: list[str] = []
        self.errors_count = 0

    def error(self, code: str, message: str, line: int | None = None, example: int | None = None) -> None:
        """Note an error; nothing is raised before the whole file was read."""
        self.errors_count += 1
        if len(self.errors) < PROBLEMS_SHOWN_MAX:
            self.errors.append(
                Complaint(
                    severity="error", code=code, message=message, path=self.path, line=line, example=example
                )
            )

    def warn(self, message: str) -> None:
        """Note a warning, once for each text."""
        if message not in self.warnings and len(self.warnings) < PROBLEMS_SHOWN_MAX:
            self.warnings.append(message)

    def raise_if_any(self) -> None:
        """Raises UserError with the code of the first error and the text of all."""
        if not self.errors:
            return
        lines = [str(complaint) for complaint in self.errors]
        if self.errors_count > len(self.errors):
            lines.append(f"… and {self.errors_count - len(self.errors)} more")
        raise UserError(self.errors[0].code, "\n".join(lines))
