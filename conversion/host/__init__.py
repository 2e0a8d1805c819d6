"""Drives the converter's container from the host: ``scripts/convert``.

It looks at what a conversion needs (Docker, the NVIDIA runtime, disk, the image), builds the image
where it is missing or old, runs the job with the settings that ``docker-compose.yml`` would give
it, and reports what was made. The NGC key goes in as a file, so that ``docker inspect`` and the
list of processes don't show it.
"""
