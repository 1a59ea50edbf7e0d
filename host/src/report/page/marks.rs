//! The marks of a figure.

use super::escape::{escape, shortened};
use super::figure::{About, Series, Sign};
use super::palette::{Look, Shape};

/// Draws a sign. `along` says that the axis of its value is the horizontal one.
pub fn sign(svg: &mut String, look: Look, sign: Sign, (x, y): (f64, f64), along: bool) {
    match sign {
        Sign::Mean => shape(svg, look.shape(), "dot", (x, y), 4.5),
        Sign::Run => push!(
            svg,
            "<circle class=\"run dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>"
        ),
        Sign::Optimum => shape(svg, look.shape(), "open ln", (x, y), 4.0),
        Sign::AtLeast | Sign::AtMost => {
            let out = if sign == Sign::AtLeast { 1.0 } else { -1.0 };
            let path = if along {
                format!("v-5l{} 5l{} 5z", 9.0 * out, -9.0 * out)
            } else {
                format!("h-5l5 {}l5 {}z", -9.0 * out, 9.0 * out)
            };
            push!(svg, "<path class=\"dot\" d=\"M{x:.1} {y:.1}{path}\"/>");
        }
        Sign::Diverged => push!(
            svg,
            "<path class=\"cross ln\" d=\"M{:.1} {:.1}l8 8m-8 0l8 -8\"/>",
            x - 4.0,
            y - 4.0
        ),
        Sign::Failed => push!(
            svg,
            "<path class=\"cross ln\" d=\"M{:.1} {:.1}h8M{x:.1} {:.1}v8\"/>",
            x - 4.0,
            y,
            y - 4.0
        ),
        Sign::Unfinished => {
            push!(
                svg,
                "<circle class=\"open ln\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
            );
        }
    }
}

/// An unseen disc about a mark, which the page asks.
pub fn hit(svg: &mut String, about: &About, (x, y): (f64, f64), small: bool) {
    let data = match about {
        About::Run(index) => format!("data-r=\"{index}\""),
        About::Text(text) => format!("data-t=\"{}\"", escape(text)),
    };
    let radius = if small { 5 } else { 8 };
    push!(
        svg,
        "<circle class=\"hit\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {data}/>"
    );
}

/// An entry of the legend with its left end at a point.
pub fn entry(svg: &mut String, series: &Series, x: f64, y: f64) {
    let Series { look, label, .. } = series;
    let dashes = look.dashes().unwrap_or("none");
    push!(
        svg,
        "<g class=\"{}\"><path class=\"line ln\" stroke-dasharray=\"{dashes}\" d=\"M{x:.1} {y:.1}h28\"/>",
        look.class()
    );
    shape(svg, look.shape(), "dot", (x + 14.0, y), 4.5);
    push!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
        x + 36.0,
        y + 4.0,
        escape(&shortened(label, 54))
    );
}

/// A small picture of a series, for the legend of the page.
pub fn swatch(look: Look) -> String {
    let mut svg = String::new();
    let dashes = look.dashes().unwrap_or("none");
    push!(
        svg,
        "<svg class=\"fig swatch\" viewBox=\"0 0 28 12\" aria-hidden=\"true\"><g class=\"{}\">\
         <path class=\"line ln\" stroke-dasharray=\"{dashes}\" d=\"M0 6h28\"/>",
        look.class()
    );
    shape(&mut svg, look.shape(), "dot", (14.0, 6.0), 4.5);
    svg.push_str("</g></svg>");
    svg
}

fn shape(svg: &mut String, shape: Shape, class: &str, (x, y): (f64, f64), radius: f64) {
    let r = radius;
    match shape {
        Shape::Circle => {
            push!(
                svg,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"
            );
        }
        Shape::Square => push!(
            svg,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{w}\" height=\"{w}\"/>",
            x - r,
            y - r,
            w = 2.0 * r
        ),
        Shape::Triangle => push!(
            svg,
            "<path class=\"{class}\" d=\"M{:.1} {:.1}h{}l{} {}z\"/>",
            x - r,
            y + r * 0.8,
            2.0 * r,
            -r,
            -1.8 * r
        ),
        Shape::Diamond => push!(
            svg,
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z\"/>",
            y - r,
        ),
    }
}
