"""Numbers in text: separators of columns, decimal marks and thousands separators."""

import re

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_NOT_MEASURED = re.compile(r"[-+]?(?:nan|inf(?:inity)?|n/?a|null|none|1\.#\w+|#n/a|--?|\*)", re.IGNORECASE)
_THOUSANDS = {mark: re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:\{mark}\d{{3}})+") for mark in ",."}
_BLANK_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:[ \u00a0\u2009\u202f'’]\d{3})+(?=[.,]|$)")
_QUOTED = re.compile(r'"([^"]*)"')
_LONGEST_NUMBER = 100  # characters; longer fields make regular expressions slow
_HIDDEN_COMMA = "\x01"  # stands for a comma inside quotation marks while a line is split

SEPARATORS = {
    ";": re.compile(r";"),
    "\t": re.compile(r"\t"),
    ",": re.compile(r","),
    "comma and blank": re.compile(r",\s+"),
    "blank": re.compile(r"\s+"),
    "any": re.compile(r"[\s,;]+"),
}


def _hide_quoted(line):
    """Return a line without quotation marks; commas and blanks inside them do not separate fields."""
    if '"' not in line:
        return line
    return _QUOTED.sub(lambda m: m[1].strip().replace(",", _HIDDEN_COMMA).replace(" ", "\u00a0"), line)


def split_line(line, separator):
    """Return the fields of a line; ``separator`` is a key of `SEPARATORS`.

    Separators at the end of a line add no field. Tabs, commas and semicolons separate empty fields too.
    """
    line = _hide_quoted(line.replace("−", "-"))
    if separator in ("blank", "any"):
        line = line.strip(" \t,;" if separator == "any" else " \t")
        blanks = re.split(r"[ \t]+" if separator == "blank" else r"[ \t,;]+", line)
        fields = blanks if len(blanks) > 1 else SEPARATORS[separator].split(line)
    else:
        fields = [field.strip() for field in SEPARATORS[separator].split(line)]
    while fields and not fields[-1]:
        fields.pop()
    return [field.replace(_HIDDEN_COMMA, ",") for field in fields]


def _most(lines, mark):
    return sum(mark in line for line in lines) > len(lines) / 2


def _tabs_separate(lines):
    """Return whether tabs alone separate the columns: no field contains blanks, except between thousands."""
    fields = [field for line in lines for field in split_line(line, "\t")]
    return all(" " not in field or _BLANK_THOUSANDS.match(field) for field in fields)


def find_separator(lines):
    """Return the key of `SEPARATORS` that separates the columns of lines of numbers."""
    lines = [_hide_quoted(line).strip(" ").rstrip(",") for line in lines]
    if _most(lines, ";"):
        return ";"
    if _most(lines, "\t") and _tabs_separate(lines):
        return "\t"
    if not _most(lines, ","):
        # A comma in few lines belongs to numbers, such as counts of 1,000 and more.
        return "," if any(re.search(r",(?!\d)", line) for line in lines) else "blank"
    tight = sum(bool(re.search(r"\d,[-+\d]", line)) for line in lines)
    spaced = sum(bool(re.search(r",\s", line)) for line in lines)
    blank_gap = any(re.search(r"[^,\s]\s+[^,\s]", line) for line in lines)
    if not blank_gap:
        decimal = tight == spaced == len(lines) and not any("." in line for line in lines)
        return "comma and blank" if decimal else ","
    if not tight or any(re.search(r"\d\.\d*,(?!\d{3}(?:\D|$))", line) for line in lines):
        return "any"
    return "blank"


def _evidence(field):
    """Return the decimal mark of a field ("," or "."), "weak," or "weak." if unsure, or None."""
    comma, point = field.count(","), field.count(".")
    if not (comma or point) or not re.fullmatch(r"[-+\d.,eEdD \u00a0\u2009\u202f'’]+", field):
        return None
    if comma and point:
        return max(",.", key=field.rfind)
    mark, other = (",", ".") if comma else (".", ",")
    if max(comma, point) > 1:
        return other
    return f"weak{mark}" if _THOUSANDS[mark].fullmatch(field) else mark


def find_decimal_mark(columns, name):
    """Return "." or ",", the decimal mark of columns of numbers as text.

    A mark before exactly three digits may separate thousands. It is a decimal mark if every number of the
    first column has it, because axes are written with a fixed number of digits.

    Raises
    ------
    ValueError
        If the columns contradict each other, or allow both readings.
    """
    seen = [{} for _ in columns]
    for kinds, column in zip(seen, columns, strict=True):
        for field in column:
            kinds.setdefault(_evidence(field), field)
    certain = {mark: kinds[mark] for kinds in seen for mark in ",." if mark in kinds}
    if len(certain) == 2:
        raise ValueError(
            f"{name}: numbers with decimal commas and with decimal points, e.g. {certain[',']!r} and "
            f"{certain['.']!r}; use one decimal mark in the whole file"
        )
    if certain:
        return next(iter(certain))
    weak = [(i, kinds) for i, kinds in enumerate(seen) if "weak," in kinds]
    if not weak:
        return "."
    fixed = {mark for mark in ",." if f"weak{mark}" in seen[0] and set(seen[0]) == {f"weak{mark}"}}
    mixed = [kinds["weak,"] for _, kinds in weak if None in kinds]  # 987 and 1,234 in one column
    if fixed == {","} and not mixed:
        return ","
    if fixed != {","} and (mixed or fixed == {"."}):
        return "."
    example = weak[0][1]["weak,"]
    raise ValueError(
        f"{name}: {example!r} may be {example.replace(',', '.')} or {example.replace(',', '')}; write "
        "decimal points, and no separators between thousands"
    )


def to_number(field, decimal_mark="."):
    """Return a field of text as a float, NaN for "nan", "n/a" and the like, or None if it is not a number."""
    if len(field) > _LONGEST_NUMBER:
        return None
    thousands = "," if decimal_mark == "." else "."
    blank = _BLANK_THOUSANDS.match(field)
    if blank:
        field = re.sub(r"[^-+\d]", "", blank[0]) + field[blank.end() :]
    if thousands in field:
        whole, *rest = field.split(decimal_mark)
        if not _THOUSANDS[thousands].fullmatch(whole):
            return None
        field = decimal_mark.join([whole.replace(thousands, ""), *rest])
    field = field.replace(decimal_mark, ".").replace("d", "e").replace("D", "e")
    if _NUMBER.fullmatch(field):
        return float(field)
    if _NOT_MEASURED.fullmatch(field):
        infinite = "inf" in field.lower()
        return (-1 if field.startswith("-") else 1) * float("inf") if infinite else float("nan")
    return None
