# Completions of saetools for zsh: options, choices, models, hook points, files. The table behind this head is made from the
# tools' own by the Makefile: tool, letter, long name, form of its value, name of its value, choices, help.
# SPDX-License-Identifier: MIT

# The hook points of the model that the command line names.
_saetools_hooks() {
    local dir=${(Q)${opt_args[-m]:-${opt_args[--model]}}}
    local -a hooks
    [[ -n $dir ]] && hooks=(${(f)"$(act-dump --info -m ${~dir} 2> /dev/null | awk -F '\t' '/hook_/ || $1 == "logits" { print $1 }')"})
    compadd -a hooks
}

_saetools() {
    local of letter name form value choices help many action spec
    local -a specs
    while IFS=$'\t' read -r of letter name form value choices help; do
        [[ $of == $service ]] || continue
        help=${help//(#m)[\[\]:\\]/\\$MATCH} many='' action=' '
        case $value in
        HOOK*) action=_saetools_hooks ;;
        DIR) action='_files -/' ;;
        FILE|SAE|GRAD|CODES|ACTS) action=_files ;;
        esac
        [[ $form == choice ]] && action="($choices)"
        [[ $form == words ]] && many='*'
        value=${value//:/\\:}
        spec="[$help]"
        [[ $form == flag ]] || spec+=":$value:$action"
        case $form$value in
        flag*) [[ $letter == - ]] || specs+=("-$letter$spec"); [[ $name == - ]] || specs+=("--$name$spec") ;;
        word\[*) specs+=("-$letter-[$help]::$value: " "--$name=-[$help]::$value: ") ;;
        *) [[ $letter == - ]] || specs+=("$many-$letter+$spec"); [[ $name == - ]] || specs+=("$many--$name=$spec") ;;
        esac
    done <<< "$_saetools_table"
    _arguments -s -S : $specs '*:file:_files'
}
