"""A Space: the page of gateshift for the model that the variable MODEL names, or that lies beside this file."""

import os
from pathlib import Path

import gateshift as gs

HERE = Path(__file__).parent

if __name__ == "__main__":  # decoding processes import this file
    clips = HERE / "clips"
    gs.serve(
        os.environ.get("MODEL", HERE / "model.safetensors"),
        host="0.0.0.0",
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        examples=clips if clips.is_dir() else None,
    )
