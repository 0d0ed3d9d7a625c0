"""The end of a job's log as text, bounded in lines and bytes, the same for every backend and for the store. Pure."""


def tail(end: bytes, tail_lines: int, max_bytes: int) -> str:
    """Return the last lines of the end of a log, as text of at most ``max_bytes`` in UTF-8; bad input is replaced."""
    text = last_bytes(end, max_bytes).decode(errors="replace")
    text = last_bytes(text.encode(), max_bytes).decode()  # a replaced byte has grown to three
    ending = "\n" if text.endswith("\n") else ""
    lines = text.removesuffix("\n").rsplit("\n", tail_lines)
    return "\n".join(lines[-tail_lines:]) + ending if tail_lines and text else ""


def last_bytes(data: bytes, max_bytes: int) -> bytes:
    """Return the end of ``data``, not beginning in the middle of a character."""
    if len(data) <= max_bytes:
        return data
    cut = data[len(data) - max_bytes :]
    middle = next((at for at in range(min(3, len(cut))) if cut[at] & 0xC0 != 0x80), min(3, len(cut)))
    return cut[middle:]
