"""Configuration of the documentation site, which `make docs` builds with Sphinx."""

from importlib.metadata import version as version_of

project = "zoobot3d_tf"
author = copyright = "The zoobot3d_tf developers"
version = release = version_of("zoobot3d_tf")

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]

html_theme = "furo"
html_title = f"zoobot3d_tf {version}"

# Headings are targets of links, as in the viewers of repositories.
myst_heading_anchors = 3

# The API reference comes from the docstrings, which follow the style of Google.
apidoc_modules = [{"path": "../zoobot3d_tf", "destination": "api", "max_depth": 2}]
apidoc_module_first = True
autodoc_default_options = {"members": True, "member-order": "bysource"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or attributes of dataclasses are described twice
# Docstrings name attributes that several classes have, and files outside the site.
suppress_warnings = ["ref.python", "myst.xref_missing"]

# The gallery: the scripts are run, and their pictures and tables shown. Only those that changed are run again.
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "/",  # all of them, not only those that are named `plot_...`
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_signature": False,
}
