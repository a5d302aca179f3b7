"""The commands of `zoobot3d`, one module per part of the package.

For each of its commands, a module holds the arguments, the function that runs it, and an entry in `STAGES`. Only the
arguments of the requested command are read, so that their defaults and choices can come from the modules that own them.
Modules that import pandas, astropy or TensorFlow are imported when a command runs.
"""
