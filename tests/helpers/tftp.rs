//! TFTP: the server answers from another port.

use crate::stage::{CLIENT, Expected, Nat, SERVER, Stage, datagrams, in_every_variant};

#[test]
fn tftp_transfers() {
    in_every_variant("tftp", transfer);
}

fn transfer(stage: &Stage, nat: Nat) {
    let server = datagrams(&stage.server, SERVER, 69);
    for request in [&b"\0\x01file\0octet\0"[..], b"\0\x02file\0octet\0"] {
        let client = datagrams(&stage.client, CLIENT, 0);
        let port = client.local_addr().expect("it is bound").port();
        client.send_to(request, (nat.server(), 69)).expect("it is sent");
        let mut bytes = [0; 100];
        let (len, from) = server.recv_from(&mut bytes).expect("the request passes");
        assert_eq!(&bytes[..len], request);
        assert_eq!(from.ip(), nat.client());
        let (to, masters) = ((nat.client(), from.port()), [(CLIENT, port), (nat.server(), 69)]);
        stage.expects(&Expected::once("tftp", 17, SERVER, to, masters));

        let transfer = datagrams(&stage.server, SERVER, 0);
        transfer.send_to(b"\0\x03\0\x01data", from).expect("it is sent");
        let (len, sender) = client.recv_from(&mut bytes).expect("the data passes");
        assert_eq!(&bytes[..len], b"\0\x03\0\x01data");
        assert_eq!(sender.ip(), nat.server(), "the client knows the server by its outer address");
        client.send_to(b"\0\x04\0\x01", sender).expect("it is sent");
        let (len, sender) = transfer.recv_from(&mut bytes).expect("the acknowledgement passes");
        assert_eq!((&bytes[..len], sender), (&b"\0\x04\0\x01"[..], from));
    }
}
