package hopsworksflink.aggregate;

import java.util.Map;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.types.DataType;

/** The value below which a share of the values (the setting) lies, between two values on the line between them. */
public final class Percentile extends Frequent {
    private static final long serialVersionUID = 1L;

    @Override
    DataType type() {
        return DataTypes.DOUBLE();
    }

    @Override
    public Object getValue(Values values) {
        long size = values.size();
        if (size == 0) {
            return null;
        }
        double rank = values.setting * (size - 1);
        long below = (long) Math.floor(rank);
        double rest = rank - below;
        double low = at(values, below);
        double high = at(values, Math.min(below + 1, size - 1));
        double found = rest == 0 || low == high ? low : low * (1 - rest) + high * rest;
        return Double.isNaN(found) ? null : found;
    }

    private static double at(Values values, long rank) {
        long passed = 0;
        for (Map.Entry<Object, Long> entry : values.counts.entrySet()) {
            passed += entry.getValue();
            if (passed > rank) {
                return (Double) entry.getKey();
            }
        }
        throw new IllegalStateException("There is no value of rank " + rank);
    }
}
