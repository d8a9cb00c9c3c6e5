# Sourced by the other scripts: parts the options given to one into settings, which every rag command takes, and the
# rest, which are of one command alone.
#
#   part_options OPTION…   fills the arrays settings (--set and --config with their values) and rest, in their order
part_options() {
  settings=() rest=()
  while [ $# -gt 0 ]; do
    case $1 in
    --set | --config)
      [ $# -gt 1 ] || { echo "$1 needs a value, as in --set reranker.depth=20" >&2 && exit 2; }
      settings+=("$1" "$2")
      shift
      ;;
    --set=* | --config=*) settings+=("$1") ;;
    *) rest+=("$1") ;;
    esac
    shift
  done
}
