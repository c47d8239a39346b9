"""Backbone, neck and the detector around a head, in linen."""
