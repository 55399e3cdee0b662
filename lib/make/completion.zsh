# Completes targets, settings and their values in zsh. In ~/.zshrc, after compinit: . path/to/lib/make/completion.zsh
# Where `make` has a Makefile of another project, it is completed as it was before.

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_retrieve_words=${${(%):-%x}:A:h}/words.sh

_retrieve() {
    local list line name
    local -a targets settings values
    if [[ $PREFIX == -* ]] || ! list=$(sh $_retrieve_words "${(@)words[1,CURRENT-1]}" 2>/dev/null); then
        [[ ${words[1]:t} == retrieve ]] || eval $_retrieve_before
        return
    fi
    for line in ${(f)list}; do
        case $line in
        (*=$'\t'*) settings+=(${line/=$'\t'/:}) ;;
        (*=*$'\t') values+=(${line%$'\t'}) ;;
        (*) targets+=(${line/$'\t'/:}) ;;
        esac
    done
    if [[ $PREFIX == *=* ]]; then
        name=${PREFIX%%=*}
        compset -P '*='
        values=(${(M)values:#$name=*})
        values=(${values#*=})
        [[ -n ${values[(r)/]} ]] && _files
        values=(${values:#/})
        _describe -t values ${${(M)settings:#$name:*}#*:} values
    else
        _describe -t targets target targets
        _describe -t settings setting settings -S =
    fi
}

[[ ${_comps[make]-} == _retrieve ]] || _retrieve_before=${_comps[make]:-_default}
compdef _retrieve make gmake retrieve
