// For functions whose loops the compiler turns into vectors: one version for each width, chosen when the program starts.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define LORAHOST_VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// For what is written for AVX-512's registers, and is called only where there are any.
#define LORAHOST_AVX512 __attribute__((target("arch=x86-64-v4")))
#elif defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define LORAHOST_VECTORISED __attribute__((target_clones("avx2", "default")))
#else
#define LORAHOST_VECTORISED
#endif
