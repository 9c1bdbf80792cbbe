package hopsworksflink.aggregate;

import java.util.Map;
import org.apache.flink.table.types.DataType;

/** The most frequent value; of several, the least. */
public final class Mode extends Frequent {
    private static final long serialVersionUID = 1L;

    @Override
    DataType type() {
        return null;
    }

    @Override
    public Object getValue(Values values) {
        Object found = null;
        long most = 0;
        for (Map.Entry<Object, Long> entry : values.counts.entrySet()) {
            if (entry.getValue() > most) {
                found = entry.getKey();
                most = entry.getValue();
            }
        }
        return found;
    }
}
