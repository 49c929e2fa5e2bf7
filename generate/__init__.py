"""Files that repeat what the code says, written from it: `make generate`.

Definitions for Meltano Hub, the settings in meltano.yml, .env.example, and the tables of the
documentation. What the code does not say of a package, such as its keywords, is in `hub/text.yaml`
next to its definition. `packages` lists the packages, `files` the files; `tests/test_generated.py`
fails where one is out of date.
"""
