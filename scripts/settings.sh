# Sourced by the other scripts. Splits the options given to one into settings, which every rag command takes, and the
# rest, which belong to one command alone.
#
#   split_options OPTION…   fills the arrays `settings` (--set and --config with their values) and `rest`, in order
split_options() {
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
