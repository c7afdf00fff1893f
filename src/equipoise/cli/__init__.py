"""The command line. Starts without torch: a command imports what it needs when it runs."""

from __future__ import annotations

import atexit
import gc
import sys

SELDOM = 100_000  # new objects between two looks for garbage: tracing and compiling make many that stay


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Whatever the user can cause ends in one line on standard error and exit code 2."""
    from typer import Exit, TyperException

    from ..errors import EquipoiseError
    from .app import app

    gc.set_threshold(SELDOM)
    atexit.register(gc.freeze)  # nothing is looked through once more on the way out
    try:
        code = app(arguments, standalone_mode=False)
    except TyperException as e:
        code = _complain(e.format_message())
    except EquipoiseError as e:
        code = _complain(str(e))
    except OSError as e:
        code = _complain(
            f"{e.filename or 'a file'}: {e.strerror or e}. Choose another place with --out, or free some space."
        )
    except KeyboardInterrupt:
        print("equipoise: stopped.", file=sys.stderr)
        code = 130
    except Exit as e:
        code = e.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    print("equipoise: " + " ".join(message.split()), file=sys.stderr)
    return 2
