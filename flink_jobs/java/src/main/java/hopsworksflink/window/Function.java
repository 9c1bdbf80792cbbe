package hopsworksflink.window;

/** Aggregate functions, named as in SQL. */
enum Function {
    COUNT,
    SUM,
    AVG,
    STDDEV_SAMP,
    STDDEV_POP,
    VAR_SAMP,
    VAR_POP,
    MIN,
    MAX;

    boolean isDeviation() {
        return this == STDDEV_SAMP || this == STDDEV_POP || this == VAR_SAMP || this == VAR_POP;
    }
}
