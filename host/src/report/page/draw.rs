//! A figure as SVG, for the page and for a file of its own.

use std::collections::HashMap;

use super::escape::{escape, shortened};
use super::figure::{Axis, Figure, Height, Kind, Mark, Series, Sign};
use super::marks;
use super::palette::LIGHT;
use super::scale::{Scale, Tick};
use crate::report::analysis::Interval;

/// Where a drawing is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Within the page, which has the style sheet, the title and the legend, and wants to know what a mark is about.
    Page,
    /// Alone.
    File,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const BELOW: f64 = 46.0;
const ABOVE: f64 = 10.0;
/// Of the title and of each row of the legend, in files.
const TITLE: f64 = 28.0;
const ENTRY: f64 = 17.0;
/// Of the strip of runs without a value.
const STRIP: f64 = 20.0;
/// Of the strip of optima, and of a row in it at most.
const FOOT: f64 = 96.0;
const ROW: f64 = 10.0;
/// Average width of a character.
const CHARACTER: f64 = 6.9;
const LONGEST_LABEL: usize = 14;
/// Between the lines of two labels.
const LINE: f64 = 14.0;
/// Series beyond which they have no labels, and no legend in files.
const MOST_LABELS: usize = 16;

/// The figure as SVG.
pub fn draw(figure: &Figure, used: Use) -> String {
    Drawing::new(figure, used).svg()
}

struct Drawing<'a> {
    figure: &'a Figure,
    used: Use,
    x: Scale,
    y: Scale,
    frame: Frame,
    /// Height of the foot's rows; 0 where there is no foot.
    row: f64,
}

struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl<'a> Drawing<'a> {
    fn new(figure: &'a Figure, used: Use) -> Self {
        let has = |height: Height| {
            let mut marks = figure.series.iter().flat_map(|series| &series.marks);
            marks.any(|mark| mark.y == height)
        };
        let title = if used == Use::File { TITLE } else { 0.0 };
        let strip = if has(Height::Top) { STRIP } else { 0.0 };
        let row = if has(Height::Foot) {
            ROW.min(FOOT / figure.series.len() as f64)
        } else {
            0.0
        };
        let top = ABOVE + title + strip;
        let frame = Frame {
            left: LEFT,
            right: WIDTH - label_width(figure),
            top,
            bottom: top + HEIGHT - ABOVE - BELOW,
        };
        let xs = figure.series.iter().flat_map(xs);
        let ys = figure.series.iter().flat_map(ys);
        let ys = ys.chain(figure.reference.map(|(value, _)| value));
        let foot = frame.bottom - row * figure.series.len() as f64;
        Self {
            x: Scale::new(&figure.x.kind, xs, frame.left, frame.right),
            y: Scale::new(&figure.y.kind, ys, foot, frame.top),
            figure,
            used,
            frame,
            row,
        }
    }

    fn svg(&self) -> String {
        let figure = self.figure;
        let below = self.frame.bottom + BELOW;
        let legend = if self.used == Use::File && (2..=MOST_LABELS).contains(&figure.series.len()) {
            figure.series.len() as f64 * ENTRY + 6.0
        } else {
            0.0
        };
        let height = below + legend;
        let mut svg = String::new();
        let title = escape(&figure.title);
        match self.used {
            Use::Page => push!(
                svg,
                "<svg class=\"fig\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
            ),
            Use::File => push!(
                svg,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"fig\" width=\"{WIDTH}\" height=\"{height}\" \
                 viewBox=\"0 0 {WIDTH} {height}\"><style>{}</style><title>{title}</title>\
                 <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\
                 <text class=\"title\" x=\"12\" y=\"24\">{}</text>",
                LIGHT.figure_css(),
                escape(&shortened(&figure.title, 56)),
            ),
        }
        self.axes(&mut svg);
        self.reference(&mut svg);
        let mut stacked = HashMap::new();
        for (index, series) in figure.series.iter().enumerate() {
            self.series(&mut svg, index, series, &mut stacked);
        }
        self.labels(&mut svg);
        if legend > 0.0 {
            for (index, series) in figure.series.iter().enumerate() {
                let y = below + index as f64 * ENTRY + 4.0;
                marks::entry(&mut svg, series, LEFT, y);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn axes(&self, svg: &mut String) {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        let Figure { x, y, .. } = self.figure;
        let longest = |ticks: &[Tick]| {
            let labels = ticks.iter().filter_map(|tick| tick.label.as_ref());
            labels.map(|label| label.chars().count()).max().unwrap_or(0)
        };
        let x_ticks = self.x.ticks(&x.kind, 44.0);
        // Names that would run into each other are cut.
        let room = ((right - left) / (x_ticks.len().max(1) as f64 * CHARACTER)) as usize;
        let room = match x.kind {
            Kind::Names(_) => room.max(3),
            _ => longest(&x_ticks),
        };
        for tick in x_ticks {
            let Some(at) = self.x.at(tick.at) else {
                continue;
            };
            let Some(label) = tick.label else {
                push!(svg, "<path class=\"frame\" d=\"M{at:.1} {bottom:.1}v3\"/>");
                continue;
            };
            push!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                escape(&shortened(&label, room)),
            );
        }
        for tick in self.y.ticks(&y.kind, 30.0) {
            let Some(at) = self.y.at(tick.at) else {
                continue;
            };
            let Some(label) = tick.label else {
                push!(svg, "<path class=\"frame\" d=\"M{left:.1} {at:.1}h-3\"/>");
                continue;
            };
            push!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 7.0,
                at + 4.0,
                escape(&label),
            );
        }
        push!(
            svg,
            "<path class=\"frame\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>"
        );
        let (middle, centre) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
        push!(
            svg,
            "<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(14 {centre:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            bottom + 37.0,
            axis_label(x),
            axis_label(y),
        );
    }

    fn reference(&self, svg: &mut String) {
        let Some((value, label)) = self.figure.reference else {
            return;
        };
        let Some(at) = self.y.at(value) else { return };
        let Frame { left, right, .. } = self.frame;
        push!(
            svg,
            "<path class=\"reference\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + 5.0,
            at - 4.0,
            escape(label),
        );
    }

    /// `stacked` counts the marks that stand above a value without one of their own.
    fn series(
        &self,
        svg: &mut String,
        index: usize,
        series: &Series,
        stacked: &mut HashMap<u64, usize>,
    ) {
        let class = series.look.class();
        match self.used {
            Use::Page => push!(
                svg,
                "<g class=\"s {class}\" data-s=\"{}\">",
                escape(&series.id)
            ),
            Use::File => push!(svg, "<g class=\"{class}\">"),
        }
        let shift = self.shift(index);
        let dashes = series.look.dashes().map_or(String::new(), |dashes| {
            format!(" stroke-dasharray=\"{dashes}\"")
        });
        self.path(svg, &series.line, shift, &format!("line ln\"{dashes}"));
        self.path(svg, &series.fit, 0.0, "fit ln\"");
        for mark in &series.marks {
            self.mark(svg, index, series, mark, stacked);
        }
        svg.push_str("</g>");
    }

    fn path(&self, svg: &mut String, points: &[(f64, f64)], shift: f64, class: &str) {
        let places = points
            .iter()
            .filter_map(|(x, y)| Some((self.x.at(*x)? + shift, self.y.within(*y)?)));
        let places: Vec<_> = places.collect();
        if places.len() < 2 {
            return;
        }
        push!(svg, "<path class=\"{class} d=\"M");
        for (x, y) in places {
            push!(svg, "{x:.1} {y:.1} ");
        }
        svg.truncate(svg.len() - 1);
        svg.push_str("\"/>");
    }

    fn mark(
        &self,
        svg: &mut String,
        index: usize,
        series: &Series,
        mark: &Mark,
        stacked: &mut HashMap<u64, usize>,
    ) {
        let Some(mut x) = self.x.within(mark.x) else {
            return;
        };
        let y = match mark.y {
            Height::At(value) => self.y.within(value),
            Height::Top => Some(self.frame.top - STRIP / 2.0),
            Height::Foot => Some(self.frame.bottom - (index as f64 + 0.5) * self.row),
        };
        let Some(y) = y else { return };
        match mark.y {
            Height::At(_) => x += self.shift(index),
            Height::Top => {
                let above = stacked.entry(mark.x.to_bits()).or_default();
                // Right, left, further right, ... and then one over the other.
                let place = (*above).min(6).div_ceil(2) as f64 * 8.0;
                x += if above.is_multiple_of(2) {
                    -place
                } else {
                    place
                };
                *above += 1;
            }
            Height::Foot => {}
        }
        self.intervals(svg, mark, x, y);
        let along = mark.y == Height::Foot;
        marks::sign(svg, series.look, mark.sign, (x, y), along);
        if self.used == Use::Page {
            marks::hit(svg, &mark.about, (x, y), mark.sign == Sign::Run);
        }
    }

    /// Bars with caps; an end that is unbounded runs to the frame and has none.
    fn intervals(&self, svg: &mut String, mark: &Mark, x: f64, y: f64) {
        let Frame {
            left,
            right,
            top,
            bottom,
        } = self.frame;
        if let Some(interval) = mark.x_interval {
            let ends = [(interval.low, left), (interval.high, right)];
            let [low, high] = ends.map(|(end, edge)| {
                end.and_then(|end| self.x.at(end))
                    .filter(|at| (left..=right).contains(at))
                    .map_or((edge, ""), |at| (at, "m0 -3v6"))
            });
            push!(
                svg,
                "<path class=\"bar ln\" d=\"M{:.1} {y:.1}H{:.1}{}M{:.1} {y:.1}{}\"/>",
                low.0,
                high.0,
                high.1,
                low.0,
                low.1,
            );
        }
        if let Some(interval) = mark.y_interval {
            let ends = [(interval.low, bottom), (interval.high, top)];
            let [low, high] = ends.map(|(end, edge)| {
                end.and_then(|end| self.y.at(end))
                    .filter(|at| (top..=bottom).contains(at))
                    .map_or((edge, ""), |at| (at, "m-3 0h6"))
            });
            push!(
                svg,
                "<path class=\"bar ln\" d=\"M{x:.1} {:.1}V{:.1}{}M{x:.1} {:.1}{}\"/>",
                low.0,
                high.0,
                high.1,
                low.0,
                low.1,
            );
        }
    }

    /// Series that share places stand apart by a few pixels.
    fn shift(&self, index: usize) -> f64 {
        let count = self.figure.series.len() as f64;
        if self.figure.apart {
            (index as f64 - (count - 1.0) / 2.0) * (24.0 / count).min(4.0)
        } else {
            0.0
        }
    }

    /// Each series' name where its line ends.
    fn labels(&self, svg: &mut String) {
        if !is_labelled(self.figure) {
            return;
        }
        let ends = self.figure.series.iter().enumerate().filter_map(|(n, s)| {
            let (x, y) = s.line.last()?;
            let (x, y) = (self.x.at(*x)? + self.shift(n), self.y.within(*y)?);
            Some((s, x, y))
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| a.2.total_cmp(&b.2));
        let heights: Vec<f64> = ends.iter().map(|end| end.2).collect();
        let heights = spread(&heights, self.frame.top + 4.0, self.frame.bottom - 4.0);
        for ((series, x, y), height) in ends.into_iter().zip(heights) {
            let (class, right) = (series.look.class(), self.frame.right);
            let data = match self.used {
                Use::Page => format!(" data-s=\"{}\"", escape(&series.id)),
                Use::File => String::new(),
            };
            push!(
                svg,
                "<g class=\"s {class}\"{data}><path class=\"grid\" d=\"M{:.1} {y:.1}L{:.1} {height:.1}\"/>\
                 <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                x + 5.0,
                right + 5.0,
                right + 8.0,
                height + 4.0,
                escape(&shortened(&series.label, LONGEST_LABEL)),
            );
        }
    }
}

fn axis_label(axis: &Axis) -> String {
    let log = matches!(axis.kind, Kind::Log | Kind::LogAt(_));
    let scale = if log { " (log)" } else { "" };
    escape(&format!("{}{scale}", axis.label))
}

fn is_labelled(figure: &Figure) -> bool {
    let lines = figure
        .series
        .iter()
        .filter(|series| !series.line.is_empty());
    (1..=MOST_LABELS).contains(&lines.count())
}

fn label_width(figure: &Figure) -> f64 {
    if !is_labelled(figure) {
        return 16.0;
    }
    let longest = figure.series.iter().map(|s| s.label.chars().count()).max();
    longest.unwrap_or(0).min(LONGEST_LABEL) as f64 * CHARACTER + 14.0
}

/// Heights that lie [`LINE`] apart at least, in the same order, and within bounds where there is room.
fn spread(heights: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut spread = Vec::with_capacity(heights.len());
    let mut next = top;
    for height in heights {
        next = height.max(next);
        spread.push(next);
        next += LINE;
    }
    let mut most = bottom;
    for height in spread.iter_mut().rev() {
        *height = height.min(most);
        most = *height - LINE;
    }
    spread
}

fn xs(series: &Series) -> impl Iterator<Item = f64> {
    let marks = series.marks.iter().flat_map(|mark| {
        let interval = match mark.y {
            Height::At(_) => mark.x_interval,
            Height::Top | Height::Foot => None,
        };
        with_ends(mark.x, interval)
    });
    series.line.iter().map(|point| point.0).chain(marks)
}

fn ys(series: &Series) -> impl Iterator<Item = f64> {
    let marks = series.marks.iter().filter_map(|mark| match mark.y {
        Height::At(value) => Some(with_ends(value, mark.y_interval)),
        Height::Top | Height::Foot => None,
    });
    let lines = series.line.iter().chain(&series.fit);
    lines.map(|point| point.1).chain(marks.flatten())
}

/// A value and the ends of its interval. An end that is more than ten times larger or smaller would leave no room for all
/// else: its bar runs to the frame.
fn with_ends(value: f64, interval: Option<Interval>) -> impl Iterator<Item = f64> {
    let Interval { low, high } = interval.unwrap_or_default();
    let ends = [low, high].into_iter().flatten();
    let far = move |end: f64| value > 0.0 && (end > 10.0 * value || end < value / 10.0);
    [value]
        .into_iter()
        .chain(ends.filter(move |end| !far(*end)))
}

#[cfg(test)]
mod tests {
    use super::super::figure::About;
    use super::super::palette::Look;
    use super::*;

    fn figure(label: &str) -> Figure {
        let mut series = Series::new("c0", label, Look::Nth(0));
        series.line = vec![(1e-4, 0.5), (1e-3, 0.25)];
        let about = || About::Text(label.to_owned());
        let mut mean = Mark::new(1e-3, Height::At(0.25), Sign::Mean, about());
        mean.y_interval = Some(Interval {
            low: Some(0.2),
            high: None,
        });
        series.marks = vec![
            mean,
            Mark::new(1e-3, Height::Foot, Sign::Optimum, about()),
            Mark::new(1e-2, Height::Top, Sign::Diverged, About::Run(7)),
        ];
        Figure {
            name: "u".to_owned(),
            title: label.to_owned(),
            note: String::new(),
            x: Axis::new("learning rate", Kind::Log),
            y: Axis::new("loss", Kind::Log),
            series: vec![series.clone(), series],
            reference: Some((0.3, "untrained")),
            apart: true,
        }
    }

    #[test]
    fn a_figure_is_sound_xml_whatever_names_hold() {
        let figure = figure("<script>alert(1)</script>&\"'\u{1}");
        for used in [Use::Page, Use::File] {
            let svg = draw(&figure, used);
            assert!(!svg.contains("<script"), "{svg}");
            resvg::usvg::roxmltree::Document::parse(&svg).unwrap();
        }
    }

    #[test]
    fn the_page_knows_what_a_mark_is_about_and_a_file_has_a_legend() {
        let page = draw(&figure("r 4"), Use::Page);
        assert!(
            page.contains("data-r=\"7\"") && page.contains("data-t=\"r 4\""),
            "{page}"
        );
        assert!(!page.contains("<style"));
        let file = draw(&figure("r 4"), Use::File);
        assert!(!file.contains("data-") && file.contains("<style"));
        assert!(file.matches(">r 4</text>").count() > page.matches(">r 4</text>").count());
    }

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        let spread = spread(&[10.0, 11.0, 98.0, 99.0], 5.0, 100.0);
        assert_eq!(spread, [10.0, 24.0, 86.0, 100.0]);
    }
}
