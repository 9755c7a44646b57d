# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ctflow_global_optspecs
    string join \n h/help V/version
end

function __fish_ctflow_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ctflow_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ctflow_using_subcommand
    set -l cmd (__fish_ctflow_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ctflow -n "__fish_ctflow_needs_command" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_needs_command" -s V -l version -d 'Print version'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "status" -d 'Show the state of the node'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "ready" -d 'Say whether the tables of this node are complete and exact: exit code 0 if so, 1 if not, with the reasons'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "peers" -d 'Show the peers of replication, version 2: whether they are there, and whether their flows are here'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "takeover" -d 'Take over the flows of a peer of replication, version 2, though it carries them: they go into the kernel'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "diff" -d 'Show which flows of a peer of replication, version 2, are not the same here and there'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "doctor" -d 'Find what keeps this machine from tracking connections and taking over well, and say what to do about it'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "metrics" -d 'Show what the node counts, for Prometheus\' textfile collector'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "list" -d 'Show flows'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "count" -d 'Count flows'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "delete" -d 'Delete flows from the kernel\'s table, each by its exact tuple and the kernel\'s id'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "subscribe" -d 'Show every change of the daemon\'s table as it happens'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "top" -d 'Watch flows, their rates and groups of them; or print them once'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "filter" -d 'Show how a filter is understood'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "key" -d 'Make and show the keys that nodes know each other by'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "bench" -d 'Measure what hearing of new flows costs, ours beside the original'
complete -c ctflow -n "__fish_ctflow_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ctflow -n "__fish_ctflow_using_subcommand status" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand status" -l json -d 'As one JSON object (docs/spec/status.md) instead of text'
complete -c ctflow -n "__fish_ctflow_using_subcommand status" -l brief -d 'On one line, for health checks'
complete -c ctflow -n "__fish_ctflow_using_subcommand status" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand ready" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand ready" -l peer -d 'Of this peer of replication, version 2, alone: whether all it claims is here, and nothing else' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand ready" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand peers" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand peers" -l json -d 'As a JSON array (`peers` in docs/spec/status.md)'
complete -c ctflow -n "__fish_ctflow_using_subcommand peers" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand takeover" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand takeover" -l peer -d 'What the peer calls itself' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand takeover" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand diff" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand diff" -l peer -d 'What the peer calls itself' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand diff" -s o -l output -d 'Text or JSON' -r -f -a "text\t'Lines for people'
json\t'One JSON object (docs/spec/replication-v2.md)'"
complete -c ctflow -n "__fish_ctflow_using_subcommand diff" -l json -d 'As `-o json`'
complete -c ctflow -n "__fish_ctflow_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -l only -d 'Only these checks, by name or by family (sysctl.max, peer)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -l skip -d 'Not these, likewise' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -s o -l output -d 'As text for people, or as one JSON object (docs/spec/doctor.md)' -r -f -a "text\t'Text'
json\t'JSON'"
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -l explain -d 'Tell all about one check, and end' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -l strict -d 'Take a warning for an error'
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -s v -l verbose -d 'Show what is ok, and why a check was skipped, too'
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -l list -d 'List the checks, and end'
complete -c ctflow -n "__fish_ctflow_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand metrics" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand metrics" -l format -d 'Prometheus\' text format 0.0.4, or OpenMetrics 1.0' -r -f -a "text\t'Prometheus\' text format 0.0.4'
openmetrics\t'OpenMetrics 1.0'"
complete -c ctflow -n "__fish_ctflow_using_subcommand metrics" -s o -l output -d 'Write this file, which is replaced at once, instead of standard output' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand metrics" -l no-daemon -d 'Ask the kernel alone'
complete -c ctflow -n "__fish_ctflow_using_subcommand metrics" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l netns -d 'Work in this network namespace (/run/netns/NAME)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -s o -l output -d 'What flows look like' -r -f -a "text\t'Lines for people, as those of `conntrack -L`'
json\t'JSON (docs/spec/conntrack-json.md)'
save\t'Command lines that make the flows, for `conntrack -R`'
xml\t'XML, as that of `conntrack -L -o xml`'"
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l table -d 'Whose flows' -r -f -a "local\t'Those of this node'
remote\t'Those that its peers sent and that a failover would bring here; the daemon alone knows them'"
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l limit -d 'Show at most so many' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l kernel -d 'Ask the kernel itself, not the daemon'
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l allow-empty -d 'Take a file of values without values as a set that holds nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -l counters -d 'Also show what the kernel counts and how long flows have left: the daemon\'s table says which flows, and each is read from the kernel'
complete -c ctflow -n "__fish_ctflow_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l netns -d 'Work in this network namespace (/run/netns/NAME)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -s o -l output -d 'Text or JSON' -r -f -a "text\t'Lines for people, as those of `conntrack -L`'
json\t'JSON (docs/spec/conntrack-json.md)'
save\t'Command lines that make the flows, for `conntrack -R`'
xml\t'XML, as that of `conntrack -L -o xml`'"
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l table -d 'Whose flows' -r -f -a "local\t'Those of this node'
remote\t'Those that its peers sent and that a failover would bring here; the daemon alone knows them'"
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l by -d 'Count by these, with commas between them: zone proto state src dst dport nat natsrc natdst; src and dst with /N' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l top -d 'Show the largest N groups' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l kernel -d 'Ask the kernel itself, not the daemon'
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -l allow-empty -d 'Take a file of values without values as a set that holds nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand count" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l netns -d 'Work in this network namespace (/run/netns/NAME)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -s o -l output -d 'The form of the result: text on stderr, or JSON on stdout' -r -f -a "text\t'Lines for people, as those of `conntrack -L`'
json\t'JSON (docs/spec/conntrack-json.md)'
save\t'Command lines that make the flows, for `conntrack -R`'
xml\t'XML, as that of `conntrack -L -o xml`'"
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l max -d 'Delete nothing if more than N flows match' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l kernel -d 'Ask the kernel itself, not the daemon'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l allow-empty -d 'Take a file of values without values as a set that holds nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l dry-run -d 'Say what would be deleted, and delete nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l yes -d 'Do not ask; needed without a terminal to delete more than half of the table'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l require-match -d 'Fail with exit code 1 if no flow matches'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -l all -d 'Take an empty filter as every flow'
complete -c ctflow -n "__fish_ctflow_using_subcommand delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l events -d 'What to show, with commas between: new update destroy failure' -r -f -a "new\t''
update\t''
destroy\t''
failure\t''"
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l table -d 'Of which table: this node\'s flows, or those of its peers' -r -f -a "local\t'Flows of this node'
remote\t'Flows of its peers'"
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -s o -l output -d 'What records look like' -r -f -a "text\t'Lines for people, as those of `conntrack -E`'
json\t'A JSON object on each line'
binary\t'Frames of records'"
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l count -d 'End after so many records' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l on-gap -d 'When this reads too slowly and loses records: say so and go on, take a new snapshot, or end with exit code 1' -r -f -a "tell\t''
resync\t''
fail\t''"
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -s C -l config -d 'Configuration file of the daemon, which says where its feed is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l socket -d 'The feed\'s socket, for those who may not read the configuration' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l snapshot -d 'Begin with all flows of the table'
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -l counters -d 'Also tell counters and times of flows, where the kernel keeps them'
complete -c ctflow -n "__fish_ctflow_using_subcommand subscribe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s g -l group -d 'Group flows: zone proto state src dst dport nat natsrc natdst; src and dst with /N (IPv6: /64 if N is up to 32)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s s -l sort -d 'Sort flows: in, out, age, left, from, to, state' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s d -l every -d 'Seconds between two pictures; on the screen, walks take at most a twentieth of the time' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s n -l lines -d 'Print at most so many flows, and so many groups' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l count -d 'Print so many pictures' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s o -l output -d 'Of what is printed: text, or JSON (docs/spec/top-json.md)' -r -f -a "text\t'Lines for people, as those of `conntrack -L`'
json\t'JSON (docs/spec/conntrack-json.md)'
save\t'Command lines that make the flows, for `conntrack -R`'
xml\t'XML, as that of `conntrack -L -o xml`'"
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l source -d 'Where flows come from' -r -f -a "auto\t'A daemon\'s feed, and the kernel\'s counters; without a feed, walks over the kernel\'s table, or over a daemon\'s where the kernel does not count packets and bytes'
daemon\t'A daemon\'s feed, or walks over its table: that costs the kernel nothing, and there are no counters'
kernel\t'Walks over the kernel\'s table'"
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l max-flows -d 'Hold at most so many flows; a table with more is walked over, and of a walk no more are kept and metered' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s C -l config -d 'Configuration file of the daemon, which says where its feed and its control socket are' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l socket -d 'The feed\'s socket, for those who may not read the configuration' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l netns -d 'Work in this network namespace (/run/netns/NAME)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l once -d 'Print one picture, of two looks at the table, and leave; so it is without a terminal'
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l plain -d 'No colour and no bold text, as with NO_COLOR or TERM=dumb'
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -l allow-empty -d 'Take a file of values without values as a set that holds nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -s C -l config -d 'Configuration file of the daemon, which says where its control socket is' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -l netns -d 'Work in this network namespace (/run/netns/NAME)' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -s o -l output -d 'Text or JSON' -r -f -a "text\t'Lines for people, as those of `conntrack -L`'
json\t'JSON (docs/spec/conntrack-json.md)'
save\t'Command lines that make the flows, for `conntrack -R`'
xml\t'XML, as that of `conntrack -L -o xml`'"
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -l kernel -d 'Ask the kernel itself, not the daemon'
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -l allow-empty -d 'Take a file of values without values as a set that holds nothing'
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -l explain -d 'Also say what runs in the kernel, what may be unknown, what conntrack\'s options would be, and how many flows match now'
complete -c ctflow -n "__fish_ctflow_using_subcommand filter" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and not __fish_seen_subcommand_from generate public psk help" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and not __fish_seen_subcommand_from generate public psk help" -f -a "generate" -d 'Make a key pair: the secret key into a new file of mode 0600, the public key to standard output'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and not __fish_seen_subcommand_from generate public psk help" -f -a "public" -d 'Print the public key of a secret one'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and not __fish_seen_subcommand_from generate public psk help" -f -a "psk" -d 'Make a preshared key, one for all nodes: into a new file of mode 0600'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and not __fish_seen_subcommand_from generate public psk help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from generate" -l json -d 'As one JSON object'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from generate" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from public" -l json -d 'As one JSON object'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from public" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from psk" -l json -d 'As one JSON object'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from psk" -s h -l help -d 'Print help'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "generate" -d 'Make a key pair: the secret key into a new file of mode 0600, the public key to standard output'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "public" -d 'Print the public key of a secret one'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "psk" -d 'Make a preshared key, one for all nodes: into a new file of mode 0600'
complete -c ctflow -n "__fish_ctflow_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l reps -d 'How often each subject is measured; subjects take turns, so that a slow minute hits all of them' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l flows -d 'How many flows, instead of what each scenario takes by itself' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l rate -d 'New flows per second in sync-paced, latency-busy, watch and every churn, which are flat out by themselves' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l duration -d 'How long paced traffic lasts; the number of flows follows from it' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l subjects -d 'Subjects to measure, separated by commas: `nobody`, `original`, and our event sources by name' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l conntrackd -d 'Our daemon; the one beside this program if left out' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l original -d 'The original daemon to compare with; it is left out where it does not exist' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l generator -d 'How packets are made' -r -f -a "auto\t'The strongest that works here'
xdp\t'By the kernel itself, from an XDP program (kernel 5.18)'
packet\t'Through a packet socket'"
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l cpus -d 'CPUs of the generator and of the subject' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l json -d 'Write everything that was measured to this file, as JSON' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l svg -d 'Draw the results into this file, as SVG' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l from -d 'Draw what an earlier run has written as JSON, and measure nothing' -r -F
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l again -d 'How often a measurement is repeated that something disturbed: other programs\' CPU time, another listener, a CPU that changes its speed; ten times as many in the whole run at most' -r
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l list -d 'List the scenarios, what each measures and against which goal, and end'
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l quick -d 'A first look: a fifth of the work, one repetition, no growth, under two minutes'
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -l force -d 'Measure although another process on this machine listens to conntrack events'
complete -c ctflow -n "__fish_ctflow_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "status" -d 'Show the state of the node'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "ready" -d 'Say whether the tables of this node are complete and exact: exit code 0 if so, 1 if not, with the reasons'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "peers" -d 'Show the peers of replication, version 2: whether they are there, and whether their flows are here'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "takeover" -d 'Take over the flows of a peer of replication, version 2, though it carries them: they go into the kernel'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "diff" -d 'Show which flows of a peer of replication, version 2, are not the same here and there'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "doctor" -d 'Find what keeps this machine from tracking connections and taking over well, and say what to do about it'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "metrics" -d 'Show what the node counts, for Prometheus\' textfile collector'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "list" -d 'Show flows'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "count" -d 'Count flows'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "delete" -d 'Delete flows from the kernel\'s table, each by its exact tuple and the kernel\'s id'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "subscribe" -d 'Show every change of the daemon\'s table as it happens'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "top" -d 'Watch flows, their rates and groups of them; or print them once'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "filter" -d 'Show how a filter is understood'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "key" -d 'Make and show the keys that nodes know each other by'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "bench" -d 'Measure what hearing of new flows costs, ours beside the original'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and not __fish_seen_subcommand_from status ready peers takeover diff doctor metrics list count delete subscribe top filter key bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "generate" -d 'Make a key pair: the secret key into a new file of mode 0600, the public key to standard output'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "public" -d 'Print the public key of a secret one'
complete -c ctflow -n "__fish_ctflow_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "psk" -d 'Make a preshared key, one for all nodes: into a new file of mode 0600'
