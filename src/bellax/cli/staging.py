"""The folder of results: checked before anything is computed, and filled with whole files or left as it was."""

import contextlib
import shutil
import tempfile
from pathlib import Path

from bellax.cli.failure import Refusal


class Staging:
    """A hidden folder inside `out`, from which finished files move into it.

    Raises:
        Refusal: if `out` cannot be made or written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._made: list[Path] = []
        try:
            for folder in reversed([out, *out.parents]):
                if not folder.exists():
                    folder.mkdir()
                    self._made.append(folder)
            self._folder = Path(tempfile.mkdtemp(prefix=".bellax-", dir=out))
        except OSError as error:
            self._unmake()
            raise Refusal(
                f"the output folder {out} cannot be written: {error.strerror}. Give another: --out DIR."
            ) from error

    def path(self, name: str) -> Path:
        """Where to write a file before it is published."""
        return self._folder / name

    def publish(self) -> list[Path]:
        """Moves every finished file into `out`, each replacing the one that was there."""
        return [file.replace(self.out / file.name) for file in sorted(self._folder.iterdir())]

    def discard(self) -> None:
        """Removes what was not published, and folders made for it that are empty."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._unmake()

    def _unmake(self) -> None:
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
