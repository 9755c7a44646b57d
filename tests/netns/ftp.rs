//! An FTP session, watched by the kernel's helper, whose router dies.

use tests::conf::Conf;
use tests::stage::Stage;
use tests::transfer::passes_the_router_that_took_over;

#[test]
fn a_data_connection_passes_the_router_that_took_over() {
    let stage = Stage::new();
    passes_the_router_that_took_over(&stage, |stage, name, end| {
        stage.ours(name, &Conf::new(end).option("ExpectationSync {\n ftp\n }"))
    });
}
