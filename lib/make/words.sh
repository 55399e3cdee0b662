#!/bin/sh
# words.sh COMMAND WORD...: what may come next in a command line of `make` or `retrieve`, for completion in the shell.
# Each line is a target, NAME= for a setting, or NAME=VALUE; then a tab and its text. NAME=/ stands for any file there.
# It fails where nothing of ours comes next: after another Makefile, or after an option that needs an argument.
set -eu

path() { case $1 in [~]/*) printf '%s\n' "$HOME/${1#??}" ;; *) printf '%s\n' "$1" ;; esac; }

top=$(readlink -f -- "$0")
top=${top%/lib/make/*}
unset CDPATH
case ${1##*/}:$#:${2-} in
retrieve:1:) kind=verbs ;;
retrieve:*:make) kind='' ;;
retrieve:*) kind=settings ;;
*)
    kind='' file=''
    while shift && [ $# -gt 0 ]; do
        case $1 in
        -f | --file | --makefile) file=$(path "$2") && shift ;;
        -f*) file=$(path "${1#??}") ;;
        --file=* | --makefile=*) file=$(path "${1#*=}") ;;
        -C | --directory) cd -- "$(path "$2")" && shift ;;
        -C*) cd -- "$(path "${1#??}")" ;;
        --directory=*) cd -- "$(path "${1#*=}")" ;;
        -[IloW]) : "$2" && shift ;;
        esac
    done
    for name in GNUmakefile makefile Makefile; do
        [ -n "$file" ] || [ ! -e "$name" ] || file=$name
    done
    top=$(readlink -f -- "$file")
    top=${top%/Makefile}
    [ -e "$top/lib/make/words.sh" ]
    ;;
esac

awk -v kind="$kind" '
BEGIN { FS = " *## *" }
/^VERBS :=/ { verbs = $0 " " }
/^[a-z-]+:.*##/ && kind != "settings" {
    name = $1
    sub(/:.*/, "", name)
    if (!kind || index(verbs, " " name " ")) print name "\t" $2
}
/^[A-Z_]+ \?=.*##/ && kind != "verbs" {
    name = $1
    sub(/ .*/, "", name)
    if (kind && name == "PYTHON") next
    print name "=\t" $2
    count = split($3, values, " ")
    for (i = 1; i <= count; i++) print name "=" values[i] "\t"
}
END {
    if (kind == "verbs") print "make\ta target of the Makefile, here\nmakefile\twhere the Makefile is"
}' "$top/Makefile" "$top"/lib/make/*.mk
