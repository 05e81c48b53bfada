# Completions of saetools for bash: options, choices, models, hook points, files. The table behind this head is made from
# the tools' own by the Makefile: tool, letter, long name, form of its value, name of its value, choices, help.
# SPDX-License-Identifier: MIT

# The hook points of the model that the command line names.
_saetools_hooks() {
    local i dir='' dump=act-dump
    [[ ${COMP_WORDS[0]} == */* ]] && dump=${COMP_WORDS[0]%/*}/act-dump
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -m | --model) dir=${COMP_WORDS[i + 1]} && [ "$dir" = = ] && dir=${COMP_WORDS[i + 2]} ;;
        -m?*) dir=${COMP_WORDS[i]#-m} ;;
        esac
    done
    dir=${dir//[\\\'\"]/}
    [ -z "$dir" ] || "$dump" --info -m "${dir/#\~\//$HOME/}" 2> /dev/null | awk -F '\t' '/hook_/ || $1 == "logits" { print $1 }'
}

_saetools() {
    local tool=${COMP_WORDS[0]##*/} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local of letter name form value choices options='' want=FILE words=''
    if [ "$cur" = = ]; then cur=''; elif [ "$prev" = = ]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
    while IFS=$'\t' read -r of letter name form value choices _; do
        [ "$of" = "$tool" ] || continue
        [ "$letter" = - ] || options+=" -$letter"
        [ "$name" = - ] || options+=" --$name"
        [[ $form == flag || $value == \[* ]] && continue
        [ "$prev" = "-$letter" ] || [ "$prev" = "--$name" ] || continue
        want=$value
        [ "$form" != choice ] || words=$choices
    done <<< "$_saetools_table"
    COMPREPLY=()
    case $want in
    HOOK*) words=$(_saetools_hooks) ;;
    DIR) compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") && return ;;
    FILE | SAE | GRAD | CODES | ACTS) [[ $cur == -* ]] || {
        compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return; } ;;
    esac
    [[ $cur != -* || $want != FILE ]] || words=$options
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
