"""The files of images: which ones there are, and what their headers and pixels say."""
