package hopsworksflink.aggregate;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.DataType;

/** The first or last values by a text that sorts events, as an array in that order. */
public abstract class Ordered extends OfValues {
    private static final long serialVersionUID = 1L;

    /** Its length: `ORDER_TIME` and `ORDER_OFFSET` of hopsworks_flink.pipeline.sql.aggregates. */
    private static final int ORDER = 15 + 19;

    private final boolean first;

    Ordered(boolean first) {
        this.first = first;
    }

    @Override
    DataType type() {
        return DataTypes.STRING();
    }

    @Override
    void trim(Values values) {
        values.keep((long) values.setting, first);
    }

    /** For Flink: add the value of one event. */
    public void accumulate(Values values, StringData order, Object value, Double most) {
        super.accumulate(values, value == null ? null : StringData.fromString(order + AvroArray.marked(value)), most);
    }

    @Override
    public Object getValue(Values values) {
        List<Object> found = new ArrayList<>();
        for (Map.Entry<Object, Long> entry : values.counts.entrySet()) {
            Object value = AvroArray.parsed(entry.getKey().toString().substring(ORDER));
            for (long left = entry.getValue(); left > 0; left--) {
                found.add(value);
            }
        }
        return AvroArray.text(found);
    }
}
