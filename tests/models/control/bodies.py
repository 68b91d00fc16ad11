"""Bodies for the tests of the graph policy: gymnasium's model files, and some of a few lines."""

from __future__ import annotations

from pathlib import Path

import gymnasium

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
BALL = '<geom size="0.1"/>'

GOOD = f"""<mujoco><worldbody>
<body name="trunk"><site name="here"/><joint type="slide" name="rail"/>{BALL}
<body pos="0 0 1"><joint type="hinge" name="one"/>{BALL}</body></body></worldbody>
<actuator><motor joint="one"/></actuator></mujoco>"""

BEHIND = f"""<mujoco><worldbody>
<body name="trunk"><joint type="slide" name="along"/>
<joint type="slide" name="up" axis="0 0 1"/>{BALL}
<body pos="0 0 1"><joint type="hinge" name="one"/>
<joint type="hinge" name="two" axis="1 0 0"/>{BALL}
<body pos="0 0 1">{BALL}
<body pos="0 0 1"><joint type="hinge" name="three"/>{BALL}</body></body></body>
<body pos="0 1 0"><joint type="hinge" name="other"/>{BALL}</body></body></worldbody>
<actuator><motor joint="three"/><motor joint="one"/></actuator></mujoco>"""


def links(joints: int) -> str:
    """A cart on a rail, with this many joints hanging on it in a row, each with a motor."""
    inside = BALL
    for i in reversed(range(joints)):
        inside = f'{BALL}<body pos="0 0 {1 + i}"><joint type="hinge" name="j{i}"/>{inside}</body>'
    motors = "".join(f'<motor joint="j{i}"/>' for i in range(joints))
    return (
        '<mujoco><worldbody><body name="trunk"><joint type="slide" name="rail"/>'
        f"{inside}</body></worldbody>"
        f"<actuator>{motors}</actuator></mujoco>"
    )


def chain(folder: Path, text: str) -> Path:
    """The text as a file."""
    file = folder / "body.xml"
    file.write_text(text, encoding="utf-8")
    return file
