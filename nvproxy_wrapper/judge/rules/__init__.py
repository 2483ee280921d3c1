"""The rules: functions of a draft, a module for each part of a spec; `rewrite` has their order."""
