"""The commands of `zoobot3d`, one module per part of the package.

For each command, a module defines the arguments, the function that runs the command, and an entry in `STAGES`. Only the
arguments of the requested command are added to the parser, so that the modules that define their defaults and choices
are only imported for this command. Modules that import pandas, astropy or TensorFlow are imported when a command runs.
"""
