"""Text of CIF files: encodings, compressed files, tags of CIF 2."""

import gzip
import re
import stat
import zlib

from xtalsk.crystals._constants import MAX_FILE_SIZE

_ENCODINGS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DOTTED = re.compile(r"(?<!\S)(_[A-Za-z][\w\[\]-]*)\.([A-Za-z]\S*)")
_DOTTED_CAPITALS = re.compile(r"_(?:CELL|Cell|ATOM_SITE|Atom_[Ss]ite|SPACE_GROUP|Space_[Gg]roup)\.")
_TAG = re.compile(r"(?<!\S)_\S+")
_DOTTED_SIGNS = ("_cell.", "_atom_site.", "_space_group.", "_space_group_symop.", "_symmetry.",
                 "_symmetry_equiv.", "_chemical_formula.")  # fmt: skip


def read_text(path):
    """Text of a CIF file, which may be compressed with gzip.

    Raises
    ------
    ValueError
        If the file is empty, binary or too large, or no regular file.
    OSError
        If the file is not readable.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file; expected CIF text")
    too_large = (
        f"the file is larger than {MAX_FILE_SIZE // 2**20} MB; split it into one file for each crystal"
    )
    if status.st_size > MAX_FILE_SIZE:
        raise ValueError(too_large)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = _decompress(path)
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(too_large)
    encoding = next((e for mark, e in _ENCODINGS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content:
        raise ValueError("the file is binary; expected CIF text")
    text = content.decode(encoding or "utf-8", errors="replace")
    if not text.strip("\ufeff \t\r\n"):
        raise ValueError("the file is empty")
    return text


def _decompress(path):
    """Content of a gzip file, up to one byte beyond the limit."""
    try:
        with gzip.open(path, "rb") as file:
            return file.read(MAX_FILE_SIZE + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise ValueError(f"the compressed file is damaged: {error}") from error


def normalise(text):
    """Return CIF text without a byte order mark, and ``_cell.length_a`` of CIF 2 as ``_cell_length_a``."""
    text = text.lstrip("\ufeff")
    if not (any(sign in text for sign in _DOTTED_SIGNS) or ("." in text and _DOTTED_CAPITALS.search(text))):
        return text
    tags = set(_TAG.findall(text.lower()))

    def without_dot(match):
        tag = f"{match[1]}_{match[2]}"
        return match[0] if tag.lower() in tags else tag  # the file has both forms

    return _DOTTED.sub(without_dot, text)


def is_cif_text(text):
    """Whether a string is CIF text and no path."""
    return "\n" in text or "\r" in text or text.lstrip("\ufeff \t").lower().startswith("data_")
