"""A Space: the page of gateshift for the model that lies beside this file."""

from pathlib import Path

from gateshift.cli.verbs.serve import run_serve
from gateshift.web.settings import ServeSettings

HERE = Path(__file__).parent

if __name__ == "__main__":  # decoding processes import this file
    clips = HERE / "clips"
    run_serve(
        ServeSettings(
            HERE / "model.safetensors",
            host="0.0.0.0",
            port=7860,
            examples=clips if clips.is_dir() else None,
        )
    )
