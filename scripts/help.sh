# shellcheck shell=bash
# Sourced by the scripts before they install anything. Where -h or --help is among the arguments,
# `help_first` ends the script with the comment at its top and, if it can be had, its program's help.

# help_first PROGRAM ARGUMENT ...; PROGRAM is the module of a `main` and its first arguments, or "".
help_first() {
  local words root python code
  read -ra words <<<"$1"
  shift
  case " $* " in *" -h "* | *" --help "*) ;; *) return 0 ;; esac
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  if [ ${#words[@]} -gt 0 ]; then
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    code="import sys; from ${words[0]} import main; print(); sys.exit(main(sys.argv[1:]))"
    # That of `facekit` needs no package, so that any Python will do before anything is installed.
    for python in "$(cd "$root" && realpath -ms "${FACEKIT_VENV:-.venv}")/bin/python" \
      "${FACEKIT_PYTHON:-python3}"; do
      if PYTHONPATH=$root "$python" -c "$code" "${words[@]:1}" "$@" 2>/dev/null; then break; fi
    done
  fi
  exit 0
}
