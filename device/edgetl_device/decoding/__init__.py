"""What Pillow leaves open about a photo's bytes: colour profiles, HEIC and AVIF, how much a PNG may unpack."""
