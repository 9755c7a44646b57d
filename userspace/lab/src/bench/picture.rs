//! A report as a picture, by `plotters`: bars for each figure, with its goal; for growth, curves.
//!
//! ```text
//!   Report --> panels: one figure each, so high --> page: heading, legend, panels from top to bottom
//! ```
//!
//! It draws what was written as JSON, so recorded results can be drawn again.

use super::json::{Entry, Report};
use super::statistics::Better;
use super::table::number;
use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: i32 = 960;
const MARGIN: i32 = 24;
/// Font sizes: of most text, and of headings.
const SMALL: i32 = 12;
const LARGE: i32 = 15;
/// From one line of text to the next.
const LINE: i32 = 20;
/// Where the area of a chart begins, and where it ends: left of it stand names, right of it values.
const LEFT: i32 = 110;
const RIGHT: i32 = 200;
/// Height of a bar's row, and of what stands above and below the rows.
const ROW: i32 = 22;
const TITLE: i32 = 24;
const AXIS: i32 = 44;
/// Height of the curves' area.
const CURVES: i32 = 200;
/// Room between panels, and above the first one of a scenario.
const GAP: i32 = 14;
const SCENARIO: i32 = 74;

/// A color for each, also distinguishable for the color-blind; in the order of the legend.
const COLORS: [(&str, RGBColor); 7] = [
    ("nobody", RGBColor(0xb8, 0xb8, 0xb8)),
    ("original", RGBColor(0xd5, 0x5e, 0x00)),
    ("netlink", RGBColor(0x56, 0xb4, 0xe9)),
    ("tap", RGBColor(0x00, 0x72, 0xb2)),
    ("hook", RGBColor(0x00, 0x9e, 0x73)),
    ("conntrack-E", RGBColor(0xe6, 0x9f, 0x00)),
    ("our-E", RGBColor(0x00, 0x72, 0xb2)),
];
const OTHERS: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const DIM: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GOAL: &str = "goal";

/// One figure of a scenario.
struct Panel<'a> {
    /// The scenario, before its first figure.
    heading: Option<[String; 2]>,
    /// Its name with its unit.
    title: String,
    better: Better,
    /// Sizes, of which growth has several.
    cases: Vec<&'a str>,
    entries: Vec<&'a Entry>,
}

/// Draws everything.
pub(super) fn draw(report: &Report) -> Result<String> {
    let panels = panels(report);
    let keys = keys(&panels);
    let places = places(&keys);
    let machine = wrapped(&report.machine.line());
    let below = 42 + LINE * machine.len() as i32;
    let head = below + places.last().map_or(0, |(_, y)| *y + LINE);
    let height = head + panels.iter().map(Panel::height).sum::<i32>() + MARGIN;
    let mut svg = String::new();
    let page = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32));
    let page = page.into_drawing_area();
    page.fill(&WHITE)?;
    write(&page, (MARGIN, 20), LARGE, &BLACK, "ctflow bench")?;
    for (line, y) in machine.iter().zip((42..).step_by(LINE as usize)) {
        write(&page, (MARGIN, y), SMALL, &DIM, line)?;
    }
    for (key, (x, y)) in keys.iter().zip(&places) {
        legend(&page, key, (MARGIN + x, below + 6 + y))?;
    }
    let mut y = head;
    for panel in &panels {
        panel.draw(&page, y)?;
        y += panel.height();
    }
    page.present()?;
    drop(page);
    Ok(svg)
}

/// The panels, from top to bottom: figures with a goal and the main figures; the rest is in the table. Growth shows
/// all.
fn panels(report: &Report) -> Vec<Panel<'_>> {
    let mut panels = Vec::new();
    for scenario in &report.scenarios {
        let figures = distinct(scenario.figures.iter().map(|entry| entry.figure.as_str()));
        let cases = distinct(scenario.figures.iter().map(|entry| entry.case.as_str()));
        let grows = cases.len() > 1;
        let mut heading = Some([scenario.name.clone(), scenario.title.clone()]);
        if let (Some([name, _]), false, [case]) = (&mut heading, grows, &cases[..]) {
            *name += &format!(" ({case})");
        }
        for (at, figure) in figures.into_iter().enumerate() {
            let entries = scenario.figures.iter().filter(|entry| entry.figure == figure);
            let entries: Vec<&Entry> = entries.collect();
            let is_shown = grows || at == 0 || entries.iter().any(|entry| entry.goal.is_some());
            if is_shown && entries.iter().any(|entry| entry.max > 0.0) {
                let (first, cases) = (entries[0], cases.clone());
                let unit = if first.unit.is_empty() { "" } else { ", " };
                let title = format!("{}{unit}{}", first.title, first.unit);
                let (heading, better) = (heading.take(), first.better);
                panels.push(Panel { heading, title, better, cases, entries });
            }
        }
    }
    panels
}

/// Each once, in the order they come.
fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    all.for_each(|one| {
        if !seen.contains(&one) {
            seen.push(one);
        }
    });
    seen
}

impl Panel<'_> {
    fn height(&self) -> i32 {
        let heading = if self.heading.is_some() { SCENARIO } else { GAP };
        let chart = if self.grows() { CURVES } else { ROW * self.entries.len() as i32 };
        heading + TITLE + chart + AXIS
    }

    const fn grows(&self) -> bool {
        self.cases.len() > 1
    }

    fn draw(&self, page: &Area<'_>, mut y: i32) -> Result<()> {
        let end = y + self.height();
        if let Some([name, title]) = &self.heading {
            write(page, (MARGIN, y + 30), LARGE, &BLACK, name)?;
            write(page, (MARGIN, y + 52), SMALL, &DIM, title)?;
            y += SCENARIO;
        } else {
            y += GAP;
        }
        write(page, (MARGIN, y + 4), SMALL, &BLACK, &self.title)?;
        let area = page.clone().shrink((0, y + TITLE), (WIDTH, end - y - TITLE));
        if self.grows() { self.curves(&area) } else { self.bars(page, &area) }
    }

    /// The greatest value there is room for: a round one.
    fn top(&self) -> f64 {
        let greatest = |entry: &&Entry| entry.max.max(entry.goal.unwrap_or(0.0));
        round_up(self.entries.iter().map(greatest).fold(0.0, f64::max))
    }

    /// The better direction along the axis.
    const fn direction(&self) -> &'static str {
        match self.better {
            Better::Lower => "less is better",
            Better::Higher => "more is better",
        }
    }

    /// A bar for each subject: its median, and a line from the least to the greatest.
    fn bars(&self, page: &Area<'_>, area: &Area<'_>) -> Result<()> {
        let (count, top) = (self.entries.len(), self.top());
        let mut builder = ChartBuilder::on(area);
        builder.margin_left(MARGIN).margin_right(RIGHT);
        builder.x_label_area_size(AXIS).y_label_area_size(LEFT);
        // From top to bottom.
        let rows = (0..count - 1).into_segmented();
        let mut chart = builder.build_cartesian_2d(0.0..top, rows)?;
        let row = |at: usize| count - 1 - at;
        let name = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) if *at < count => self.entries[row(*at)].subject.clone(),
            _ => String::new(),
        };
        let value = |value: &f64| number(*value);
        let mut mesh = chart.configure_mesh();
        mesh.disable_y_mesh().light_line_style(TRANSPARENT).axis_style(DIM);
        mesh.x_labels(8).y_labels(count).x_label_formatter(&value).y_label_formatter(&name);
        mesh.label_style(font(SMALL, &DIM)).axis_desc_style(font(SMALL, &DIM));
        mesh.x_desc(self.direction()).draw()?;
        for (at, entry) in self.entries.iter().enumerate() {
            let (from, to) = (SegmentValue::Exact(row(at)), SegmentValue::Exact(row(at) + 1));
            let median = entry.median.max(0.0);
            let style = color(&entry.subject).filled();
            let mut bar = Rectangle::new([(0.0, from), (median, to)], style);
            bar.set_margin(3, 3, 0, 0);
            chart.draw_series([bar])?;
            let middle = || SegmentValue::CenterOf(row(at));
            let spread = [entry.min, entry.max].map(|end| (end.max(0.0), middle()));
            chart.draw_series([PathElement::new(spread, BLACK.mix(0.55))])?;
            if let Some(goal) = entry.goal {
                let (from, to) = (SegmentValue::Exact(row(at)), SegmentValue::Exact(row(at) + 1));
                let mark = [(goal, from), (goal, to)];
                chart.draw_series([PathElement::new(mark, BLACK.stroke_width(2))])?;
            }
            let (x, y) = chart.backend_coord(&(top, middle()));
            write(page, (x + 12, y), SMALL, &BLACK, &label(entry))?;
        }
        Ok(())
    }

    /// A curve for each subject over the sizes.
    fn curves(&self, area: &Area<'_>) -> Result<()> {
        let (count, top) = (self.cases.len(), self.top());
        let mut builder = ChartBuilder::on(area);
        builder.margin_left(MARGIN).margin_right(MARGIN).margin_top(4);
        builder.x_label_area_size(AXIS - 16).y_label_area_size(LEFT);
        let sizes = (0..count - 1).into_segmented();
        let mut chart = builder.build_cartesian_2d(sizes, 0.0..top)?;
        let size = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) if *at < count => self.cases[*at].to_owned(),
            _ => String::new(),
        };
        let value = |value: &f64| number(*value);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().light_line_style(TRANSPARENT).axis_style(DIM);
        mesh.x_labels(count).y_labels(8).x_label_formatter(&size).y_label_formatter(&value);
        mesh.label_style(font(SMALL, &DIM)).axis_desc_style(font(SMALL, &DIM));
        mesh.y_desc(self.direction()).draw()?;
        for subject in distinct(self.entries.iter().map(|entry| entry.subject.as_str())) {
            let color = color(subject);
            let own = self.entries.iter().filter(|entry| entry.subject == subject);
            let points = own.filter_map(|entry| {
                let at = self.cases.iter().position(|case| *case == entry.case)?;
                Some((at, *entry))
            });
            let points: Vec<_> = points.collect();
            let place = |at: usize| SegmentValue::CenterOf(at);
            let medians = points.iter().map(|(at, entry)| (place(*at), entry.median.max(0.0)));
            chart.draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?;
            chart.draw_series(medians.map(|point| Circle::new(point, 3, color.filled())))?;
            let spreads = points.iter().map(|(at, entry)| {
                let ends = [entry.min, entry.max].map(|end| (place(*at), end.max(0.0)));
                PathElement::new(ends, BLACK.mix(0.55))
            });
            chart.draw_series(spreads)?;
        }
        Ok(())
    }
}

/// The value of a bar, and how it stands to its goal.
fn label(entry: &Entry) -> String {
    let value = number(entry.median);
    match (entry.goal, entry.met) {
        (Some(goal), Some(true)) => format!("{value}  meets {}", number(goal)),
        (Some(goal), Some(false)) => format!("{value}  misses {}", number(goal)),
        _ => value,
    }
}

/// The least of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 and 8 times a power of ten that is not less than a value.
fn round_up(value: f64) -> f64 {
    if !value.is_normal() || value < 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    // A value that is such a number may come out a little above it.
    let enough = |step: &f64| step * power >= value * (1.0 - 1e-9);
    steps.into_iter().find(enough).unwrap_or(10.0) * power
}

/// What the legend explains: everybody who is in a panel, and the goals where there are some.
fn keys(panels: &[Panel<'_>]) -> Vec<String> {
    let entries = || panels.iter().flat_map(|panel| &panel.entries);
    let mut names = distinct(entries().map(|entry| entry.subject.as_str()));
    let known = |name: &str| COLORS.iter().position(|(known, _)| *known == name);
    names.sort_by_key(|name| known(name).unwrap_or(COLORS.len()));
    let mut keys: Vec<String> = names.into_iter().map(str::to_owned).collect();
    if entries().any(|entry| entry.goal.is_some()) {
        keys.push(GOAL.to_owned());
    }
    keys.push(EXPLAINED.to_owned());
    keys
}

const EXPLAINED: &str = "bars and points: medians; thin lines: least to greatest";
/// Room for a key's sign, and between one key and the next.
const SIGN: i32 = 18;
const APART: i32 = 24;

/// Where each key of the legend stands: a line is broken before it leaves the page.
fn places(keys: &[String]) -> Vec<(i32, i32)> {
    let (mut x, mut y) = (0, 0);
    let place = |key: &String| {
        let width = SIGN + wide(key, SMALL);
        if x > 0 && MARGIN + x + width > WIDTH - MARGIN {
            (x, y) = (0, y + LINE);
        }
        let here = (x, y);
        x += width + APART;
        here
    };
    keys.iter().map(place).collect()
}

/// How wide a text is at most, as browsers' sans-serif fonts go.
fn wide(text: &str, size: i32) -> i32 {
    text.chars().count() as i32 * size * 62 / 100
}

/// A text in lines that stay on the page.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one from the start");
        let longer = if last.is_empty() { word.to_owned() } else { format!("{last} {word}") };
        if last.is_empty() || MARGIN + wide(&longer, SMALL) <= WIDTH - MARGIN {
            *last = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn legend(page: &Area<'_>, key: &str, (x, y): (i32, i32)) -> Result<()> {
    match key {
        GOAL => {
            let mark = PathElement::new([(x + 6, y - 6), (x + 6, y + 6)], BLACK.stroke_width(2));
            page.draw(&mark)?;
        }
        EXPLAINED => return write(page, (x, y), SMALL, &DIM, key),
        _ => page.draw(&Rectangle::new([(x, y - 6), (x + 12, y + 6)], color(key).filled()))?,
    }
    write(page, (x + SIGN, y), SMALL, &BLACK, key)
}

fn color(subject: &str) -> RGBColor {
    COLORS.iter().find(|(name, _)| *name == subject).map_or(OTHERS, |(_, color)| *color)
}

fn font(size: i32, color: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(color)
}

/// Text whose left middle is at a place.
fn write(page: &Area<'_>, at: (i32, i32), size: i32, color: &RGBColor, text: &str) -> Result<()> {
    let style = font(size, color).pos(Pos::new(HPos::Left, VPos::Center));
    page.draw_text(text, &style, at)?;
    Ok(())
}

#[cfg(test)]
mod tests;
