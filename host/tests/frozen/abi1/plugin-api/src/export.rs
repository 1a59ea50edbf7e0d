#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $name:literal => $type:ty),+ $(,)?) => {
        const _: () = {
            use $crate::abi::abi_stable::library::RootModuleResult;
            use $crate::abi::abi_stable::std_types::{RResult, RStr};
            use $crate::manifest::Piece;
            use $crate::sdk::Params;

            const COMPONENTS: &[Piece] = &[$(Piece::Many(&[
                Piece::Text(concat!("{\"kind\":\"", stringify!($kind), "\",\"name\":\"", $name, "\",\"summary\":\"")),
                Piece::Text(<$type as Params>::SUMMARY),
                Piece::Text("\",\"requires\":"),
                Piece::Strings(<$crate::export_plugin!(@kind $kind $type)>::REQUIRES),
                Piece::Text(",\"parameters\":"),
                <$type as Params>::PARAMETERS,
                <$crate::export_plugin!(@kind $kind $type)>::MANIFEST,
                Piece::Text("}"),
            ])),+];
            const JSON: Piece = Piece::Many(&[
                Piece::Text(concat!(
                    "{\"package\":\"", env!("CARGO_PKG_NAME"),
                    "\",\"version\":\"", env!("CARGO_PKG_VERSION"),
                    "\",\"licence\":\"", env!("CARGO_PKG_LICENSE"),
                    "\",\"abi\":",
                )),
                Piece::Text($crate::protocol::ABI_TEXT),
                Piece::Text(",\"components\":"),
                Piece::List(COMPONENTS),
                Piece::Text("}"),
            ]);

            #[used]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".lorahost.manifest"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__lorahost"))]
            static MANIFEST: [u8; $crate::manifest::length(JSON)] = $crate::manifest::bytes(JSON);

            extern "C" fn manifest() -> RStr<'static> {
                $crate::abi::manifest_text(&MANIFEST)
            }

            fn make(
                component: &str,
                parameters: &str,
            ) -> $crate::sdk::Result<Box<dyn $crate::abi::Component>> {
                $(if component == concat!(stringify!($kind), "/", $name) {
                    return $crate::sdk::kind::make::<$type, $crate::export_plugin!(@kind $kind $type)>(parameters);
                })+
                Err($crate::sdk::Error::new(format!("this plugin has no component {component}")))
            }

            extern "C" fn create(
                component: RStr<'_>,
                parameters: RStr<'_>,
                host: *const ::core::ffi::c_void,
            ) -> RResult<*mut ::core::ffi::c_void, $crate::abi::Failure> {
                // SAFETY: the host calls this by the contract of `Plugin::create`.
                unsafe { $crate::abi::create(component, parameters, host, make) }
            }

            extern "C" fn module() -> RootModuleResult {
                $crate::abi::erased(|| $crate::abi::root_module(manifest, create))
            }

            // The name under which abi_stable looks for a root module.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::abi::Header =
                $crate::abi::constructor(module);
        };
    };
    (@kind init $type:ty) => { $crate::sdk::Init<$type> };
    (@kind alpha $type:ty) => { $crate::sdk::Alpha<$type> };
    (@kind optimizer $type:ty) => { $crate::sdk::Optimize<$type> };
    (@kind head $type:ty) => { $crate::sdk::Head<$type> };
    (@kind $other:ident $type:ty) => {
        compile_error!("a component is an init, alpha, optimizer or head")
    };
}
