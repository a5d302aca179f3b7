"""The commands of `zoobot3d`, by what they are for."""
