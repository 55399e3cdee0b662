# shellcheck shell=bash
# Completes targets, settings and their values in bash. In ~/.bashrc: . path/to/lib/make/completion.bash
# Where `make` has a Makefile of another project, it is completed as it was before.

_retrieve_words=$(readlink -f -- "${BASH_SOURCE[0]}")
_retrieve_words=${_retrieve_words%/*}/words.sh

_retrieve() {
    local typed=${COMP_LINE:0:COMP_POINT} words current='' prefix list word
    read -ra words <<<"$typed"
    if [[ $typed != *[[:space:]] ]]; then
        current=${words[${#words[@]} - 1]}
        unset "words[${#words[@]} - 1]"
    fi
    if [[ $current == -* ]] || ! list=$(sh "$_retrieve_words" "${words[@]}" 2>/dev/null); then
        _retrieve_elsewhere "$@"
        return
    fi
    prefix=${current%"${current#*=}"}
    # What is completed begins behind the sign, unless that is no longer between words.
    [[ $COMP_WORDBREAKS == *=* ]] && prefix=
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        if [[ $current != *=* ]]; then
            [[ $word == "$current"* && $word != *=?* ]] && COMPREPLY+=("$word")
        elif [[ $word == "${current%%=*}=/" ]]; then
            compopt -o filenames
            while IFS= read -r word; do COMPREPLY+=("$prefix$word"); done < <(compgen -f -- "${current#*=}")
        elif [[ $word == "$current"* && $word == *=?* ]]; then
            COMPREPLY+=("$prefix${word#*=}")
        fi
    done <<<"$list"
    [[ ${COMPREPLY-} == *= ]] && compopt -o nospace
    return 0
}

# Find the function that completes `make` elsewhere: of before this file, or that bash-completion loads when it is asked.
_retrieve_find() {
    [[ $(complete -p make 2>/dev/null) =~ -F\ ([^ ]+) && ${BASH_REMATCH[1]} != _retrieve ]] &&
        _retrieve_before=${BASH_REMATCH[1]}
}

_retrieve_elsewhere() {
    [[ ${1##*/} != retrieve ]] || return 0
    if [[ -z ${_retrieve_before-} && $(complete -p -D 2>/dev/null) =~ -F\ ([^ ]+) ]]; then
        complete -r make
        "${BASH_REMATCH[1]}" make
        _retrieve_find
        complete -F _retrieve make gmake
    fi
    if [[ -n ${_retrieve_before-} ]]; then "$_retrieve_before" "$@"; else compopt -o bashdefault -o default; fi
}

_retrieve_find
complete -F _retrieve make gmake retrieve
