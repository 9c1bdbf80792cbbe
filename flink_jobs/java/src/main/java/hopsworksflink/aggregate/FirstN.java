package hopsworksflink.aggregate;

/** The first values. */
public final class FirstN extends Ordered {
    private static final long serialVersionUID = 1L;

    public FirstN() {
        super(true);
    }
}
