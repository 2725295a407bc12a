"""Videos as numbered frames: ``open_video`` reads files, folders of images and packed frames alike."""

from gateshift.data.video.files import open_video as open_video
