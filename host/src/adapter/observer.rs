//! Somebody who sees what goes into the linear layers while something runs.

use std::cell::RefCell;
use std::rc::Rc;

use tch::{TchError, Tensor};

/// Gets a layer's name and its input, `[rows, fan_in]`.
pub type Observer = dyn Fn(&str, &Tensor) -> Result<(), TchError>;

thread_local! {
    static OBSERVER: RefCell<Option<Rc<Observer>>> = const { RefCell::new(None) };
}

/// Runs `body`, during which `observer` sees the input of every linear layer on this thread.
pub fn observed<T>(observer: Rc<Observer>, body: impl FnOnce() -> T) -> T {
    struct Before(Option<Rc<Observer>>);
    impl Drop for Before {
        fn drop(&mut self) {
            OBSERVER.set(self.0.take());
        }
    }
    let _before = Before(OBSERVER.replace(Some(observer)));
    body()
}

/// Whether anybody observes.
pub(super) fn present() -> bool {
    OBSERVER.with_borrow(Option::is_some)
}

/// Shows the input of the layer `name` to whoever observes.
pub(super) fn show(name: &str, x: &Tensor) -> Result<(), TchError> {
    let observer = OBSERVER.with_borrow(Option::clone);
    observer.map_or(Ok(()), |observer| observer(name, x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_observer_sees_until_it_ends() {
        let x = Tensor::from_slice(&[1_f32, 2.0]);
        let log = Rc::new(RefCell::new(Vec::new()));
        let observer = |who: &'static str| {
            let log = Rc::clone(&log);
            Rc::new(move |name: &str, _: &Tensor| {
                log.borrow_mut().push(format!("{who} {name}"));
                Ok(())
            })
        };
        show("nobody", &x).unwrap();
        observed(observer("outer"), || {
            observed(observer("inner"), || show("a", &x)).unwrap();
            show("b", &x).unwrap();
        });
        show("nobody", &x).unwrap();
        assert_eq!(*log.borrow(), ["inner a", "outer b"]);
    }
}
