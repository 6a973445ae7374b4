"""The table at the end of a run."""

# The longest text of a reason.
SHOWN = 100
# Members that describe what was measured: they are not figures.
SETTINGS = {
    "width", "height", "guidance_scale", "steps", "preview_every_steps", "rank", "modules", "matmul_side", "limit",
}


def of(members: dict[str, dict]) -> str:
    """One line for each part: its name, how it ended, and its main figures."""
    rows = [(name, verdict(member), figures(name, member)) for name, member in members.items()]
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:{wide[0]}}  {verdict:{wide[1]}}  {text}".rstrip() for name, verdict, text in rows)


def verdict(member: dict) -> str:
    return next((word for word in ("failed", "skipped", "cut_off") if word in member), "ok").replace("_", " ")


def figures(name: str, member: dict) -> str:
    for word in ("failed", "skipped"):
        if word in member:
            return " ".join(str(member[word]).split())[:SHOWN]
    return SPECIAL.get(name, plain)(member)


def plain(member: dict) -> str:
    """The members that are numbers or times."""
    texts = (shown(name, value) for name, value in member.items() if name not in SETTINGS)
    return ", ".join(filter(None, texts))


def shown(name: str, value) -> str:
    """A number with its name; nothing for what is no number."""
    if isinstance(value, dict) and "median" in value:
        return f"{name} {value['median']:.4g} ({value['min']:.4g} to {value['max']:.4g}, n {value['n']})"
    if isinstance(value, bool):
        return f"{name} {'yes' if value else 'no'}"
    if not isinstance(value, (int, float)):
        return ""
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes')} {value / 2**30:.2f} GiB"
    return f"{name} {value:.4g}"


def device(member: dict) -> str:
    ceilings = member.get("ceilings", {})
    return ", ".join(filter(None, [member.get("facts", {}).get("name", ""), plain(ceilings)]))


def ops(member: dict) -> str:
    rows = member.get("ops", [])
    wrong = [row for row in rows if row.get("used") != "own"]
    return f"{len(rows)} shapes measured, the portable form is used at {len(wrong)} of them"


def parity(member: dict) -> str:
    kinds = [(name, kind) for name, kind in member.items() if isinstance(kind, dict)]
    return ", ".join(f"{name} {kind['passed']} passed, {kind['failed']} failed" for name, kind in kinds)


def profile(member: dict) -> str:
    first = (member.get("kernels") or [{"name": "none", "share": 0}])[0]
    return (
        f"{member['kernel_launches']} kernels in {member['step_ms']:g} ms, busy {member['busy_ms']:g} ms; most time in "
        f"{first['name'][:40]} {100 * first['share']:.1f} %"
    )


def nested(member: dict) -> str:
    """Figures one level down, such as those of two runs."""
    kinds = [(name, plain(kind)) for name, kind in member.items() if isinstance(kind, dict)]
    return "; ".join(f"{name}: {text}" for name, text in kinds if text)


SPECIAL = {
    "device": device,
    "ops": ops,
    "parity": parity,
    "profile": profile,
    "batch": nested,
    "cold_start": nested,
    "diffusers": nested,
    "memory": nested,
}
