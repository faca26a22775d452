"""What the end-to-end tests stand on: processes, a control plane, a node, images, load."""
