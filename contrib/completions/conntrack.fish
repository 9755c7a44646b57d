complete -c conntrack -s L -l dump -d 'List flows or expectations' -r
complete -c conntrack -s I -l create -d 'Create a flow or an expectation; it must not exist' -r
complete -c conntrack -s A -l add -d 'Create a flow, or change it if it exists' -r
complete -c conntrack -s U -l update -d 'Change flows' -r
complete -c conntrack -s D -l delete -d 'Delete flows or an expectation' -r
complete -c conntrack -s G -l get -d 'Show one flow or expectation' -r
complete -c conntrack -s F -l flush -d 'Empty a table' -r
complete -c conntrack -s E -l event -d 'Show what happens as it happens' -r
complete -c conntrack -s C -l counter -d 'Show how many there are' -r
complete -c conntrack -s S -l stats -d 'Show counters of each processor' -r
complete -c conntrack -s R -l load-file -d 'Carry out the commands of a file; must come first' -r
complete -c conntrack -s s -l src -l orig-src -d 'Source, original direction' -r
complete -c conntrack -s d -l dst -l orig-dst -d 'Destination, original direction' -r
complete -c conntrack -s r -l reply-src -d 'Source, reply direction' -r
complete -c conntrack -s q -l reply-dst -d 'Destination, reply direction' -r
complete -c conntrack -s p -l protonum -d 'Layer 4 protocol, name or number' -r
complete -c conntrack -s t -l timeout -d 'Time left to live' -r
complete -c conntrack -s u -l status -d 'Status, as in ASSURED,!SEEN_REPLY' -r
complete -c conntrack -s e -l event-mask -d 'Events: ALL, NEW, UPDATES, DESTROY' -r
complete -c conntrack -l tuple-src -d 'Source of an expected flow' -r
complete -c conntrack -l tuple-dst -d 'Destination of an expected flow' -r
complete -c conntrack -l mask-src -d 'Bits that count of the source' -r
complete -c conntrack -l mask-dst -d 'Bits that count of the destination' -r
complete -c conntrack -s a -l nat-range -d 'Not used any more' -r
complete -c conntrack -s m -l mark -d 'Mark' -r
complete -c conntrack -s i -l id -d 'The kernel\'s number of the flow' -r
complete -c conntrack -s f -l family -d 'ipv4 or ipv6' -r
complete -c conntrack -s n -l src-nat -d 'Source translated, to this' -r
complete -c conntrack -s g -l dst-nat -d 'Destination translated, to this' -r
complete -c conntrack -s o -l output -d 'Format: xml, json, save, extended, id, ...' -r
complete -c conntrack -s c -l secmark -d 'Security mark' -r
complete -c conntrack -s b -l buffer-size -d 'Receive buffer for events' -r
complete -c conntrack -s j -l any-nat -d 'Source or destination translated' -r
complete -c conntrack -s w -l zone -d 'Zone of both directions' -r
complete -c conntrack -s l -l label -d 'Labels that are set' -r
complete -c conntrack -l label-add -d 'Labels to set' -r
complete -c conntrack -l label-del -d 'Labels to clear, or all' -r
complete -c conntrack -l orig-zone -d 'Zone of the original direction' -r
complete -c conntrack -l reply-zone -d 'Zone of the reply direction' -r
complete -c conntrack -s M -l labelmap -d 'Names of labels' -r
complete -c conntrack -l netns -d 'Work in this network namespace' -r
complete -c conntrack -l helper -d 'Helper of a new flow' -r
complete -c conntrack -l from-file -d 'Flows that fit a line of options in FILE, or - for stdin; in one pass' -r
complete -c conntrack -l sport -l orig-port-src -d 'original source port' -r
complete -c conntrack -l dport -l orig-port-dst -d 'original destination port' -r
complete -c conntrack -l reply-port-src -d 'reply source port' -r
complete -c conntrack -l reply-port-dst -d 'reply destination port' -r
complete -c conntrack -l mask-port-src -d 'mask source port' -r
complete -c conntrack -l mask-port-dst -d 'mask destination port' -r
complete -c conntrack -l tuple-port-src -d 'expectation tuple src port' -r
complete -c conntrack -l tuple-port-dst -d 'expectation tuple dst port' -r
complete -c conntrack -l state -d 'TCP state, fe. ESTABLISHED' -r
complete -c conntrack -l orig-vtag -d 'original verification tag' -r
complete -c conntrack -l reply-vtag -d 'reply verification tag' -r
complete -c conntrack -l role -d 'client or server' -r
complete -c conntrack -l srckey -l orig-key-src -d 'original source key' -r
complete -c conntrack -l dstkey -l orig-key-dst -d 'original destination key' -r
complete -c conntrack -l reply-key-src -d 'reply source key' -r
complete -c conntrack -l reply-key-dst -d 'reply destination key' -r
complete -c conntrack -l mask-key-src -d 'mask source key' -r
complete -c conntrack -l mask-key-dst -d 'mask destination key' -r
complete -c conntrack -l tuple-key-src -d 'expectation tuple src key' -r
complete -c conntrack -l tuple-key-dst -d 'expectation tuple dst key' -r
complete -c conntrack -l icmp-type -d 'icmp type' -r
complete -c conntrack -l icmp-code -d 'icmp code' -r
complete -c conntrack -l icmp-id -d 'icmp id' -r
complete -c conntrack -l icmpv6-type -d 'icmpv6 type' -r
complete -c conntrack -l icmpv6-code -d 'icmpv6 code' -r
complete -c conntrack -l icmpv6-id -d 'icmpv6 id' -r
complete -c conntrack -s V -l version -d 'Show the version'
complete -c conntrack -s h -l help -d 'Show a summary; with -p, options of a protocol too'
complete -c conntrack -s z -l zero -d 'Set counters to zero while listing'
complete -c conntrack -l dry-run -d 'Show what would change, and change nothing'
