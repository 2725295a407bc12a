"""A Space: the page of gateshift for the model that lies beside this file."""

from pathlib import Path

from gateshift.web.app import serve

HERE = Path(__file__).parent

if __name__ == "__main__":  # decoding processes import this file
    clips = HERE / "clips"
    serve(HERE / "model.safetensors", host="0.0.0.0", port=7860, examples=clips if clips.is_dir() else None)
