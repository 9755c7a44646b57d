# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nfct_global_optspecs
    string join \n
end

function __fish_nfct_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nfct_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nfct_using_subcommand
    set -l cmd (__fish_nfct_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nfct -n "__fish_nfct_needs_command" -f -a "list" -d 'Show all timeout policies, or all helpers'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "add" -d 'Add a timeout policy or a helper'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "delete" -d 'Delete one'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "get" -d 'Show one'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "flush" -d 'Delete all'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "disable" -d 'Stop showing packets to a helper\'s program'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "default-set" -d 'Change the timeouts of flows that have no policy'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "default-get" -d 'Show the timeouts of flows that have no policy'
complete -c nfct -n "__fish_nfct_needs_command" -f -a "version" -d 'Show the version; a command must come before or after it'
complete -c nfct -n "__fish_nfct_using_subcommand list" -s o -d 'Show one JSON object a line' -r -f -a "json\t''"
complete -c nfct -n "__fish_nfct_using_subcommand list" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand add" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand delete" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand get" -s o -d 'Show one JSON object a line' -r -f -a "json\t''"
complete -c nfct -n "__fish_nfct_using_subcommand get" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand flush" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand disable" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand default-set" -l netns -d 'Work in this network namespace' -r
complete -c nfct -n "__fish_nfct_using_subcommand default-get" -s o -d 'Show one JSON object a line' -r -f -a "json\t''"
complete -c nfct -n "__fish_nfct_using_subcommand default-get" -l netns -d 'Work in this network namespace' -r
