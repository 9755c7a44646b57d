//! Expectations in every format. There are never many, so they take the way over `fmt` that the daemon's tables take.

use super::put::Put as _;
use super::{Format, Occasion, Style, json, plain, time};
use crate::print::text::{self};
use crate::print::xml::Xml;
use ctnetlink::{ExpectView, Expectation, expectation};

/// Appends an expectation and a line end.
pub(super) fn expectation(
    out: &mut Vec<u8>,
    style: &Style<'_>,
    view: &ExpectView<'_>,
    on: &Occasion<'_>,
) {
    let expectation = view.to_expectation();
    match style.format {
        Format::Plain | Format::Save => line(out, style, &expectation, on),
        Format::Xml => element(out, style, &expectation, on),
        Format::Json => object(out, style, &expectation, on),
    }
}

fn line(out: &mut Vec<u8>, style: &Style<'_>, expectation: &Expectation, on: &Occasion<'_>) {
    time::loose_stamp(out, style, on.now_ns);
    if let Some(event) = on.event {
        plain::tag(out, style, event);
    }
    let mut line = String::new();
    // Writing to memory cannot fail.
    let _ = text::expectation(&mut line, expectation, true);
    out.text(&line);
    out.push(b'\n');
}

fn element(out: &mut Vec<u8>, style: &Style<'_>, expectation: &Expectation, on: &Occasion<'_>) {
    let tag = on.event;
    let when = style.timestamp.then(|| time::when(on.now_ns));
    let mut line = String::new();
    let _ = Xml { tag, when, ..Xml::LIST }.expectation(&mut line, expectation);
    out.text(&line);
    out.push(b'\n');
}

fn object(out: &mut Vec<u8>, style: &Style<'_>, given: &Expectation, on: &Occasion<'_>) {
    json::open(out, style, on, None);
    json::number(out, ",\"protonum\":", given.tuple.proto);
    let tuples = [
        (",\"expected\":{", &given.tuple),
        ("},\"mask\":{", &given.mask),
        ("},\"master\":{", &given.master),
    ];
    for (name, tuple) in tuples {
        out.text(name);
        json::tuple(out, tuple);
    }
    out.push(b'}');
    let numbers = [
        (",\"timeout\":", given.timeout_s),
        (",\"class\":", given.class),
        (",\"zone\":", given.zone.map(u32::from)),
        (",\"id\":", given.id),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            json::number(out, name, value);
        }
    }
    let flags = given.flags.unwrap_or(0);
    for (bit, name) in [
        (expectation::flag::PERMANENT, ",\"permanent\":true"),
        (expectation::flag::INACTIVE, ",\"inactive\":true"),
        (expectation::flag::USERSPACE, ",\"userspace\":true"),
    ] {
        out.text(if flags & bit == 0 { "" } else { name });
    }
    if let Some(helper) = &given.helper {
        json::string(out, ",\"helper\":", helper.as_str().as_bytes());
    }
    json::close(out, on);
}
